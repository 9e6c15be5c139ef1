// Package compiler gives policy text its meaning: Check turns a syntax tree into
// a Policy of typed, ordered rules, Policy.Eval is the reference answer to a
// request, and Compile turns the rules into a Diagram, the form that code
// generation and analysis walk.
package compiler

import (
	"fmt"

	"github.com/hopgate/hopgate/lang"
)

// Hook says when a policy is asked.
type Hook uint8

const (
	Connect Hook = iota // an outbound connection, after route selection
	Accept              // an inbound connection; remote is the peer
)

func (h Hook) String() string {
	if h > Accept {
		return fmt.Sprintf("hook-%d", uint8(h))
	}
	return [...]string{"connect", "accept"}[h]
}

// Policy is a checked policy: typed rules in order, the first that matches
// decides, else Default. It is immutable once returned.
type Policy struct {
	Name       string
	Hook       Hook
	Default    lang.Verdict
	AuditMode  bool // compute, count and log, but always answer allow
	FailOpen   bool // on unknown fail-open
	Rules      []Rule
	Sets       []*Set            // dynamic sets; constant ones are folded into conditions
	Interfaces []*NamedInterface // bound late interfaces
	Asserts    []Assert
	Tests      []Test
	Warnings   lang.Diagnostics

	tested fields // by some condition
}

// DefaultRule is the name under which the default's decisions are reported.
const DefaultRule = "default"

// RuleID names the rule of an index as Decision.Rule gives it: len(Rules) is the
// default.
func (p *Policy) RuleID(i int) string {
	if i == len(p.Rules) {
		return DefaultRule
	}
	return p.Rules[i].ID
}

// Rule is one typed rule.
type Rule struct {
	lang.Span
	ID      string
	Verdict lang.Verdict
	Log     bool // write an event when the rule decides
	Audit   bool // count and log only; the other rules decide as if it were not there
	Cond    Cond

	at site // of Cond
}

// Assert is a claim about every connection for which Cond holds.
type Assert struct {
	lang.Span
	ID      string
	Always  bool // always Verdict; else never Verdict
	Verdict lang.Verdict
	Cond    Cond

	at site // of Cond
}

// Test is a request with the decision its author expects.
type Test struct {
	lang.Span
	Request Request
	Expect  lang.Verdict
	By      string // rule id, or "" for any
}

// Set is a dynamic set. Ranges are its contents when the policy starts, sorted
// and disjoint; they can change while the policy runs.
type Set struct {
	lang.Span
	Name   string
	Field  Field // what the elements are; remote_address stands for both addresses, remote_port for both ports, next_hop for both LUIDs
	Ranges []Range
}

// NamedInterface is an interface the policy names, bound to a LUID late.
type NamedInterface struct {
	lang.Span
	Name  string
	Kind  string // alias, luid, guid or name
	Value string
	Bound bool   // LUID is the host's; false: any answer is possible
	LUID  uint64 // NET_LUID in host byte order; 0 when bound to an absent interface, one of its own while unbound
}

// Cond is a typed condition over the fields: All, Any, Not, In, Unknown, InSet
// or IsInterface. Its value is true, false or unknown; String gives DSL text.
type Cond interface {
	String() string
	cond()
}

// All is true when every part is: `a and b`. The empty All is true.
type All []Cond

// Any is true when some part is: `a or b`. The empty Any is false.
type Any []Cond

// Not reverses: `not a`.
type Not struct{ X Cond }

// In tests a field against ranges, sorted, disjoint and not touching:
// `remote_port in {139, 445}`. It is unknown when the field is.
type In struct {
	Field  Field
	Ranges []Range
}

// Unknown is true when the field is not available: `next_hop == unknown`.
type Unknown struct{ Field Field }

// InSet tests membership in a dynamic set: `remote in $blocked`. It is unknown
// when the field is.
type InSet struct {
	Field Field
	Set   *Set
}

// IsInterface compares a LUID with a named interface's: `next_hop == $vpn`. It
// is unknown when the field is.
type IsInterface struct {
	Field     Field
	Interface *NamedInterface
}

// withTests is the condition with another test in the place of each of its own.
func withTests(c Cond, other func(test Cond) Cond) Cond {
	parts := func(list []Cond) []Cond {
		out := make([]Cond, len(list))
		for i, x := range list {
			out[i] = withTests(x, other)
		}
		return out
	}
	switch c := c.(type) {
	case All:
		return All(parts(c))
	case Any:
		return Any(parts(c))
	case Not:
		return Not{withTests(c.X, other)}
	}
	return other(c)
}

// isUnconditional reports whether there is no condition at all.
func isUnconditional(c Cond) bool {
	all, ok := c.(All)
	return ok && len(all) == 0
}

func (All) cond()         {}
func (Any) cond()         {}
func (Not) cond()         {}
func (In) cond()          {}
func (Unknown) cond()     {}
func (InSet) cond()       {}
func (IsInterface) cond() {}

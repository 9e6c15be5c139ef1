package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// LintOptions say what Lint looks for. The zero value is what nobody wants in a
// policy.
type LintOptions struct {
	Pedantic     bool // also rules partly shadowed by one of the opposite verdict
	NoHardPermit bool // the policy is for hosts without a hard permit
}

// Steps that a search may take: for one question, and for all of a policy.
const (
	lintQuestion = 1 << 20
	lintTotal    = 1 << 25
)

// Lint finds what is doubtful in a policy: rules that never decide or change
// nothing, conditions that are always or never true, asserts and tests that show
// nothing. Each finding is proved for every connection, whatever dynamic sets hold
// and whatever named interfaces are; what a limit left undecided is an Info. A
// comment `# hopgate: allow CODE reason` on the statement or above it silences a
// finding. The findings of Check are not repeated.
func Lint(p *Policy, opts *LintOptions) lang.Diagnostics {
	if opts == nil {
		opts = &LintOptions{}
	}
	l := &linter{policy: p, opts: *opts, spaces: newPolicySpaces(p, true).spaces, steps: lintTotal, question: lintQuestion, gone: make([]bool, len(p.Rules))}
	l.conditions()
	l.rules()
	if opts.Pedantic {
		l.partlyShadowed()
	}
	l.setsNow()
	l.asserts()
	l.tests()
	l.habits()
	l.comments()
	l.limit()
	return unsilenced(l.diags.Sort(), p.statements())
}

// linter holds what is known of a policy while it is looked at.
type linter struct {
	policy *Policy
	opts   LintOptions
	spaces [2]ruleSpace
	steps  int // left for the policy

	question int    // steps that one question may take
	gone     []bool // rules reported as of no effect
	open     []int  // rules about which a question was not answered
	diags    lang.Diagnostics
}

func (l *linter) report(severity lang.Severity, at lang.Span, code, hint, format string, args ...any) *lang.Diagnostic {
	l.diags = append(l.diags, lang.Diagnostic{Span: at, Severity: severity, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint})
	return &l.diags[len(l.diags)-1]
}

// existence is what a bounded search for a connection finds out.
type existence uint8

const (
	none existence = iota
	some
	undecided
)

// exists asks for a connection in either family.
func (l *linter) exists(look func(s *ruleSpace, find *search) bool) existence {
	for i := range l.spaces {
		s := &l.spaces[i]
		find := &search{space: s.space, steps: min(l.question, l.steps)}
		budget := find.steps
		found := look(s, find)
		l.steps = max(0, l.steps-(budget-find.steps))
		switch {
		case found:
			return some
		case find.gaveUp():
			return undecided
		}
	}
	return none
}

// holds asks for a connection for which a condition is true, or with maybe true or
// unknown; with negated, for one for which it is not.
func (l *linter) holds(c Cond, maybe, negated bool) existence {
	return l.exists(func(s *ruleSpace, find *search) bool {
		f := s.formula(c, maybe, negated)
		r := s.everything()
		return find.within(r, &f, func() bool { return s.real(r) })
	})
}

// real reports whether there is a connection in the region, as there is in any where
// no set and no interface is free.
func (s *space) real(r region) bool {
	if !slices.ContainsFunc(s.vars, func(v Var) bool { return v.Set != nil || v.Interface != nil }) {
		return true
	}
	_, ok := s.witness(r, false)
	return ok
}

// conditions reports conditions, and parts of them, that are never or always true.
func (l *linter) conditions() {
	for i := range l.policy.Rules {
		r := &l.policy.Rules[i]
		if isUnconditional(r.Cond) {
			continue
		}
		switch l.holds(r.Cond, l.policy.matchesUnknown(r.Verdict), false) {
		case none:
			l.gone[i] = true
			l.report(lang.Warning, r.Span, codeNeverTrue, "", "rule `%s` never matches: its condition is never true", r.ID)
		case some:
			l.condition(r, r.Cond, r.at)
		case undecided:
			l.open = append(l.open, i)
		}
	}
}

// condition reports the outermost parts of a condition that have one value.
func (l *linter) condition(r *Rule, c Cond, at site) {
	if in, ok := c.(In); ok && len(in.Ranges) > 0 && len(clip(in.Ranges, in.Field.known())) == 0 {
		return // Check has warned of a value that means "not available"
	}
	if l.holds(c, false, false) == none {
		l.report(lang.Warning, at.Span, codeNeverTrue, "", "in rule `%s`, `%s` is never true", r.ID, brief(c))
		return
	}
	if l.holds(c, false, true) == none {
		l.report(lang.Warning, at.Span, codeAlwaysTrue, "", "in rule `%s`, `%s` is always true", r.ID, brief(c))
		return
	}
	switch c := c.(type) {
	case All:
		for i, part := range c {
			l.condition(r, part, at.part(i))
		}
	case Any:
		for i, part := range c {
			l.condition(r, part, at.part(i))
		}
	case Not:
		l.condition(r, c.X, at.part(0))
	}
}

// brief is a condition's text, cut where it is long.
func brief(c Cond) string { return cut(c.String(), maxLiteral) }

func cut(text string, length int) string {
	if len(text) <= length {
		return text
	}
	return strings.ToValidUTF8(text[:length], "") + "…"
}

// asserts reports asserts that are about no connection.
func (l *linter) asserts() {
	for i := range l.policy.Asserts {
		a := &l.policy.Asserts[i]
		if !isUnconditional(a.Cond) && l.holds(a.Cond, a.appliesToUnknown(), false) == none {
			l.report(lang.Warning, a.Span, codeVacuousAssert, "", "assert `%s` is about no connection: its condition is never true", a.ID)
		}
	}
}

// tests reports tests that ask what an earlier one asks.
func (l *linter) tests() {
	type question struct {
		request Request
		expect  lang.Verdict
	}
	first := map[question]*Test{}
	for i := range l.policy.Tests {
		t := &l.policy.Tests[i]
		q := question{t.Request, t.Expect}
		earlier, ok := first[q]
		switch {
		case !ok:
			first[q] = t
		case t.By == "" || t.By == earlier.By:
			l.report(lang.Warning, t.Span, codeVacuousTest, "", "the test asks what an earlier one asks").Notes =
				[]lang.Note{{Span: earlier.Span, Message: "the same connection here"}}
		}
	}
}

// habits reports what is legal and seldom meant.
func (l *linter) habits() {
	p := l.policy
	for i := range p.Rules {
		r := &p.Rules[i]
		if l.opts.NoHardPermit && r.Verdict == lang.AllowHard {
			l.report(lang.Info, r.Span, codeNoHardPermit, "", "the host has no hard permit: rule `%s` allows as any other does", r.ID)
		}
		l.vpnByType(r.at, "rule `"+r.ID+"`", r.ID, r.Cond, r.Verdict != lang.Deny)
	}
	for i := range p.Asserts {
		a := &p.Asserts[i]
		l.vpnByType(a.at, "assert `"+a.ID+"`", a.ID, a.Cond, false)
	}
}

// vpnWords in the id of a rule or assert say that it is about a VPN.
var vpnWords = []string{"vpn", "wireguard", "wintun"}

// vpnByType reports a type of interface taken for a VPN: prop-virtual, which many
// VPN adapters have and all sorts of others; no tunnel type, which they have too; any
// type where the id speaks of a VPN and the condition names no interface.
func (l *linter) vpnByType(at site, what, id string, c Cond, allows bool) {
	about := slices.ContainsFunc(vpnWords, func(w string) bool { return strings.Contains(id, w) })
	var found *In
	var foundAt site
	named := false
	eachTest(c, at, false, func(c Cond, at site, negated bool) {
		switch c := c.(type) {
		case IsInterface:
			named = true
		case In:
			if c.Field.kind() == NextHop {
				named = true
			}
			if negated || found != nil || c.Field != InterfaceType && c.Field != TunnelType {
				break
			}
			few := count(c.Ranges) <= maxListed
			virtual := c.Field == InterfaceType && few && contains(c.Ranges, Number(53))
			tunnel := few && (c.Field == TunnelType && !contains(c.Ranges, Number(0)) || c.Field == InterfaceType && contains(c.Ranges, Number(131)))
			if virtual && (allows || about) || about && tunnel {
				found, foundAt = &c, at
			}
		}
	})
	if found == nil || named {
		return
	}
	l.report(lang.Warning, foundAt.Span, codeVPNByType, "name the adapter, `interface vpn = alias \"...\"`, and write `next_hop == $vpn`",
		"%s takes `%s` for a VPN, but types do not tell: many adapters have it, and most VPNs have another", what, brief(*found))
}

// eachTest visits the comparisons of a condition, and says where they are and which
// stand under `not`.
func eachTest(c Cond, at site, negated bool, visit func(c Cond, at site, negated bool)) {
	switch x := c.(type) {
	case All:
		for i, part := range x {
			eachTest(part, at.part(i), negated, visit)
		}
	case Any:
		for i, part := range x {
			eachTest(part, at.part(i), negated, visit)
		}
	case Not:
		eachTest(x.X, at.part(0), !negated, visit)
	default:
		visit(c, at, negated)
	}
}

package compiler

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// Step is one rule on the way to a decision. The last step is the rule that
// decides, or the default.
type Step struct {
	Rule    string // id
	Index   int    // in Rules; len(Rules) is the default
	Verdict lang.Verdict
	Audit   bool // the rule cannot decide
	Matches bool
	Value   Truth    // of the rule's condition; True for the default
	Reasons []Reason // what made the condition so; none if it is always so
}

// Reason is a comparison that gave a condition its value.
type Reason struct {
	Cond  string // interface_type == wifi
	Value Truth
	Is    string // what the connection has: ethernet, unknown
	atom  int    // index of the comparison in the rule's condition
}

// Explain follows a decision: each rule up to the one that decides, and which
// part of its condition made it match or not.
func (p *Policy) Explain(r *Request) []Step {
	var steps []Step
	p.follow(r, func(rule int, value Truth, reasons []reason) {
		s := Step{Rule: p.RuleID(rule), Index: rule, Verdict: p.Default, Matches: p.matchesAt(rule, value), Value: value}
		if rule < len(p.Rules) {
			s.Verdict, s.Audit = p.Rules[rule].Verdict, p.Rules[rule].Audit
		}
		for _, x := range reasons {
			s.Reasons = append(s.Reasons, p.reason(x, r))
		}
		steps = append(steps, s)
	})
	return steps
}

// follow visits the rules up to the one that decides, or the default.
func (p *Policy) follow(r *Request, visit func(rule int, value Truth, reasons []reason)) {
	for i := range p.Rules {
		atom := 0
		value, reasons := explain(p.Rules[i].Cond, r, &atom)
		visit(i, value, reasons)
		if !p.Rules[i].Audit && p.matchesAt(i, value) {
			return
		}
	}
	visit(len(p.Rules), True, nil)
}

// matchesAt reports whether the rule of an index matches when its condition has
// the value; the default always does.
func (p *Policy) matchesAt(rule int, value Truth) bool {
	return rule == len(p.Rules) || value == True || value == Maybe && p.matchesUnknown(p.Rules[rule].Verdict)
}

// reason is a comparison, by its index in a condition, and its value.
type reason struct {
	cond  Cond
	atom  int
	value Truth
}

// explain evaluates a condition as EvalCond does, and gives the comparisons that
// its value rests on: of `and` the first that is false, else all that are
// unknown, else all; `or` is the mirror image. Atom counts the comparisons passed.
func explain(c Cond, r *Request, atom *int) (Truth, []reason) {
	switch c := c.(type) {
	case Not:
		value, reasons := explain(c.X, r, atom)
		return -value, reasons
	case All:
		return explainList(c, r, atom, True)
	case Any:
		if !isComparison(c) {
			return explainList(c, r, atom, False)
		}
	}
	value := EvalCond(c, r)
	*atom++
	return value, []reason{{c, *atom - 1, value}}
}

// explainList joins parts by `and` if neutral is True, by `or` if it is False.
func explainList(parts []Cond, r *Request, atom *int, neutral Truth) (Truth, []reason) {
	value := neutral
	var reasons []reason
	for _, part := range parts {
		v, more := explain(part, r, atom)
		switch {
		case v*neutral < value*neutral:
			value, reasons = v, more
		case v == value && value != -neutral:
			reasons = append(reasons, more...)
		}
	}
	return value, reasons
}

// isComparison reports whether an `or` is one comparison with several literals,
// such as `next_hop in { $vpn, unknown }`.
func isComparison(parts Any) bool {
	for _, part := range parts {
		switch part.(type) {
		case All, Any, Not:
			return false
		}
		if condFields(part) != condFields(parts[0]) {
			return false
		}
	}
	return len(parts) > 0
}

// atomField is the field of a comparison.
func atomField(c Cond) Field { return Field(bits.TrailingZeros32(uint32(condFields(c)))) }

func (p *Policy) reason(x reason, r *Request) Reason {
	f := atomField(x.cond)
	is := "unknown"
	if v := r.Value(f); f.Known(v) {
		is = p.literal(f, v)
	}
	return Reason{Cond: x.cond.String(), Value: x.value, Is: is, atom: x.atom}
}

// String gives `interface_type == wifi is false: it is ethernet`. A long list of
// values is cut.
func (x Reason) String() string {
	const most = 100
	cond := x.Cond
	if len(cond) > most {
		cond = strings.TrimRight(strings.ToValidUTF8(cond[:most], ""), " ") + "…"
	}
	if x.Is == "unknown" && x.Value == Maybe {
		return cond + " is unknown"
	}
	return fmt.Sprintf("%s is %s: it is %s", cond, x.Value, x.Is)
}

// String gives `no-smb does not match: remote_port == 445 is false: it is 443`.
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(s.Rule)
	switch {
	case s.Rule == DefaultRule:
		return s.Rule + " decides: " + s.Verdict.String()
	case !s.Matches:
		b.WriteString(" does not match")
	case s.Audit:
		fmt.Fprintf(&b, " would decide, but is audited: %s", s.Verdict)
	default:
		fmt.Fprintf(&b, " decides: %s", s.Verdict)
	}
	if s.Value == Maybe {
		b.WriteString(", its condition is unknown")
	}
	for i, x := range s.Reasons {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + x.String())
	}
	return b.String()
}

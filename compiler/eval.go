package compiler

import (
	"fmt"
	"slices"

	"github.com/hopgate/hopgate/lang"
)

// Decision is the answer to a request.
type Decision struct {
	Verdict lang.Verdict // what the hook is told; always Allow in audit mode
	Rule    int          // index of the rule that decided; len(Rules) is the default
	Audit   int          // index of the audit rule that would have decided, or -1
}

// Eval answers a request by trying the rules in order. It is the reference that
// every other engine must agree with, and is kept simple for that.
func (p *Policy) Eval(r *Request) Decision {
	first := func(audit bool) int {
		for i := range p.Rules {
			if rule := &p.Rules[i]; rule.Audit == audit && p.Matches(rule, r) {
				return i
			}
		}
		return len(p.Rules)
	}
	return p.decision(first(false), first(true))
}

// verdict is that of a rule, or the default.
func (p *Policy) verdict(rule int) lang.Verdict {
	if rule >= len(p.Rules) {
		return p.Default
	}
	return p.Rules[rule].Verdict
}

// decision puts together the enforced and the audit rule that match first;
// len(Rules) is the default, or no audit rule.
func (p *Policy) decision(rule, audit int) Decision {
	d := Decision{Verdict: p.verdict(rule), Rule: rule, Audit: -1}
	if audit < rule {
		d.Audit = audit
	}
	if p.AuditMode {
		d.Verdict = lang.Allow
	}
	return d
}

// Matches reports whether the rule matches the request: its condition is true,
// or is unknown and the rule is on the safe side (deny, or allow under
// fail-open).
func (p *Policy) Matches(rule *Rule, r *Request) bool {
	switch EvalCond(rule.Cond, r) {
	case True:
		return true
	case Maybe:
		return p.matchesUnknown(rule.Verdict)
	}
	return false
}

// matchesUnknown says whether a rule of the verdict matches when its condition is
// unknown.
func (p *Policy) matchesUnknown(v lang.Verdict) bool {
	return (v == lang.Deny) != p.FailOpen
}

// Enforced is the policy with audit rules and audit mode taken as enforced, which
// is how eval, test, prove and diff judge it.
func (p *Policy) Enforced() *Policy {
	q := *p
	q.AuditMode = false
	q.Rules = slices.Clone(p.Rules)
	for i := range q.Rules {
		q.Rules[i].Audit = false
	}
	return &q
}

// Truth is the value of a condition. The order is that of the language: `and` is
// the minimum, `or` the maximum, `not` the reversal.
type Truth int8

const (
	False Truth = iota - 1
	Maybe       // unknown
	True
)

func (t Truth) String() string { return [...]string{"false", "unknown", "true"}[t+1] }

func truth(b bool) Truth {
	if b {
		return True
	}
	return False
}

// EvalCond is the value of a condition on a request. An unbound interface is
// taken for an absent one.
func EvalCond(c Cond, r *Request) Truth {
	switch c := c.(type) {
	case All:
		t := True
		for _, x := range c {
			if t = min(t, EvalCond(x, r)); t == False {
				break
			}
		}
		return t
	case Any:
		t := False
		for _, x := range c {
			if t = max(t, EvalCond(x, r)); t == True {
				break
			}
		}
		return t
	case Not:
		return -EvalCond(c.X, r)
	case Unknown:
		return truth(!c.Field.Known(r.Value(c.Field)))
	case In:
		return member(c.Field, r, c.Ranges)
	case InSet:
		return member(c.Field, r, c.Set.Ranges)
	case IsInterface:
		if c.Interface.LUID == 0 {
			return member(c.Field, r, nil)
		}
		luid := Number(c.Interface.LUID)
		return member(c.Field, r, []Range{{luid, luid}})
	}
	panic(fmt.Sprintf("compiler: no such condition %T", c))
}

func member(f Field, r *Request, ranges []Range) Truth {
	v := r.Value(f)
	if !f.Known(v) {
		return Maybe
	}
	return truth(contains(ranges, v))
}

// contains searches sorted, disjoint ranges.
func contains(ranges []Range, v Value) bool {
	i, found := slices.BinarySearchFunc(ranges, v, func(r Range, v Value) int { return r.First.Compare(v) })
	return found || i > 0 && ranges[i-1].Contains(v)
}

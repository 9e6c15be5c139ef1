package proof

import (
	"fmt"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/lang"
)

// early is the proof of a decision that is made before the route of a connection is
// known, and with it the device and the local end. What these can be besides is a
// completion of the connection. Shown are:
//
//   - where it denies, the policy denies every completion;
//   - the rule that it reports may match, and no rule before it does, in any completion;
//   - an audit rule that it reports is the first to match in all completions, and where
//     it reports none, none before the rule matches in any.
//
// Where it leaves open what one rule denies whatever the completion, before any rule
// that might allow, nothing is wrong, since later stages decide: that is counted.
//
// Paths are followed one by one: there is a single tree.
type early struct {
	*part
	may, must []*formula // by rule, of what is known alone: it matches some completion, or all
	hidden    []bool     // by rule: whether its condition is about what is not known
	left      int        // steps
	size      []int      // by rule: tests in its condition
	spare     int        // tests that may be looked at for what is left open
}

// maxSpare bounds what it takes to count what is left open, of which nobody needs all:
// to about a second.
const maxSpare = 5_000_000

func newEarly(p *part) *early {
	e := &early{part: p, left: maxSteps, spare: maxSpare}
	unknown := make([]bool, p.terms.count)
	for _, v := range []variable{localHigh, localLow, localPort, luid, interfaceType, tunnelType, nextHop, subInterface} {
		unknown[v] = true
	}
	for _, v := range p.terms.devices {
		unknown[v] = true
	}
	for key, v := range p.terms.members {
		unknown[v] = !slices.Contains(earlyFields, key.field)
	}
	for _, f := range p.match {
		e.may = append(e.may, f.without(unknown, isTrue))
		e.must = append(e.must, f.without(unknown, isFalse))
		e.hidden = append(e.hidden, f.tests(unknown))
		e.size = append(e.size, f.size())
	}
	return e
}

// without puts something in the place of tests of some variables.
func (f *formula) without(unknown []bool, place *formula) *formula {
	if f.kind == test {
		if unknown[f.v] {
			return place
		}
		return f
	}
	g := &formula{kind: f.kind}
	for _, p := range f.parts {
		g.parts = append(g.parts, p.without(unknown, place))
	}
	return g
}

func (f *formula) tests(vars []bool) bool {
	return f.kind == test && vars[f.v] || slices.ContainsFunc(f.parts, func(p *formula) bool { return p.tests(vars) })
}

// size counts the tests.
func (f *formula) size() int {
	n := 0
	for _, p := range f.parts {
		n += p.size()
	}
	return max(n, 1)
}

func (e *early) prove(b []set) error {
	rules := make([]int32, len(e.policy.Rules))
	for i := range rules {
		rules[i] = int32(i)
	}
	return e.follow(e.graph.root, b, e.possible(rules, b))
}

// possible keeps the rules that may match in the box, up to the first enforced one that
// must.
func (e *early) possible(rules []int32, b []set) []int32 {
	kept := make([]int32, 0, len(rules))
	for _, i := range rules {
		if e.may[i].on(b) == never_ {
			continue
		}
		kept = append(kept, i)
		if !e.policy.Rules[i].Audit && e.must[i].on(b) == always {
			break
		}
	}
	return kept
}

func (e *early) step(rules []int32) error {
	e.result.Steps++
	if e.left--; e.left < 0 {
		return errSteps
	}
	return e.effort.spend(perNode + len(rules))
}

func (e *early) follow(id int32, b []set, rules []int32) error {
	if err := e.step(rules); err != nil {
		return err
	}
	n := &e.graph.nodes[id]
	if n.kind == exitNode {
		if n.value == codegen.DecisionUndecided {
			e.leftOpen(b, rules)
			return nil
		}
		rule, audit, err := e.answerOfDecision(n.value)
		switch {
		case err != nil:
			return e.wrong(b, "ends with %v", err)
		case e.policy.AuditMode:
			return e.wrong(b, "decides under `mode audit`")
		}
		return e.denied(b, rules, rule, audit)
	}
	var err error
	e.graph.forward(id, b, nil, slices.Clone[[]set], func(kid int32, part []set) {
		if err == nil {
			err = e.follow(kid, part, e.possible(rules, part))
		}
	})
	return err
}

// wrong looks for a connection in the box that shows what is wrong.
func (e *early) wrong(b []set, format string, args ...any) error {
	return e.refute(b, answer{flaw: "an early denial that " + fmt.Sprintf(format, args...)})
}

// denied shows that a rule may be reported for every connection in the box.
func (e *early) denied(b []set, rules []int32, rule, audit int) error {
	if err := e.step(rules); err != nil {
		return err
	}
	shown := e.counters || e.logged(rule, audit)
	last := len(e.policy.Rules)
	if rule < last && shown {
		switch e.may[rule].on(b) {
		case never_:
			return e.wrong(b, "reports a rule that does not match")
		case varies:
			return e.divide(e.may[rule], b, rules, rule, audit)
		}
	}
	for _, i := range rules {
		r := &e.policy.Rules[i]
		on := e.match[i].on(b)
		reported := int(i) == audit
		switch {
		case r.Audit && on == always && reported, on == never_:
		case r.Audit && (reported || int(i) < rule && (audit < 0 || int(i) < audit)), !r.Audit && shown && int(i) < rule:
			if on == varies {
				return e.divide(e.match[i], b, rules, rule, audit)
			}
			return e.wrong(b, "passes over rule `%s`", e.policy.RuleID(int(i)))
		case r.Audit:
		case r.Verdict != lang.Deny:
			return e.denies(b, rules, i, rule, audit)
		case on == always:
			return nil
		}
	}
	if audit >= 0 && e.match[audit].on(b) == never_ {
		return e.wrong(b, "reports an audit rule that does not match")
	}
	if e.policy.Default != lang.Deny {
		return e.denies(b, rules, int32(last), rule, audit)
	}
	return nil
}

// denies shows that where a rule that allows matches, one before it denies.
func (e *early) denies(b []set, rules []int32, allows int32, rule, audit int) error {
	if int(allows) < len(e.match) && e.match[allows].on(b) == varies {
		return e.divide(e.match[allows], b, rules, rule, audit)
	}
	for _, i := range rules {
		if i >= allows {
			break
		}
		if !e.policy.Rules[i].Audit && e.match[i].on(b) == varies {
			return e.divide(e.match[i], b, rules, rule, audit)
		}
	}
	return e.wrong(b, "denies what rule `%s` allows", e.policy.RuleID(int(allows)))
}

// divide cuts the box at a test of a formula.
func (e *early) divide(f *formula, b []set, rules []int32, rule, audit int) error {
	for _, c := range f.halves(b) {
		if err := e.denied(c, e.possible(rules, c), rule, audit); err != nil {
			return err
		}
	}
	return nil
}

// halves cuts a box at the first test that decides whether the formula holds in it.
func (f *formula) halves(b []set) [][]set {
	v := f.varying(b)
	var tests []set
	f.testsOf(v, b, &tests)
	var list [][]set
	for _, cell := range cells(b[v], tests[:1]) {
		c := slices.Clone(b)
		c[v] = cell
		list = append(list, c)
	}
	return list
}

// leftOpen counts what of a box could have been denied.
func (e *early) leftOpen(b []set, rules []int32) {
	for _, i := range rules {
		e.spare -= e.size[i]
	}
	if e.spare < 0 || e.policy.AuditMode {
		return
	}
	var cut *formula
	denies := e.policy.Default == lang.Deny
loop:
	for _, i := range rules {
		r := &e.policy.Rules[i]
		may, must := e.may[i].on(b), e.must[i].on(b)
		switch {
		case r.Audit && e.hidden[i] && may != never_:
			return // which may be what keeps it open
		case r.Audit:
		case r.Verdict != lang.Deny && may == always:
			denies = false
			break loop
		case r.Verdict != lang.Deny && may == varies && cut == nil:
			cut = e.may[i]
		case r.Verdict == lang.Deny && must == always:
			denies = true
			break loop
		case r.Verdict == lang.Deny && must == varies && cut == nil:
			cut = e.must[i]
		}
	}
	switch {
	case cut == nil && denies:
		e.result.Late++
	case cut != nil:
		for _, c := range cut.halves(b) {
			e.leftOpen(c, e.possible(rules, c))
		}
	}
}

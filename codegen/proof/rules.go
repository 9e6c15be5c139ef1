package proof

import (
	"cmp"
	"errors"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// byRules proves rule by rule, where counters show which rule decided: wherever a
// rule matches, the rule that the program counts is this one or an earlier one; and
// where a rule does not match, the program does not count it. Both together leave
// only the first rule that matches. For audit rules it is the same, but that only
// one before the deciding rule is counted.
func (p *part) byRules(b []set) error {
	if p.decided == nil {
		p.bound()
	}
	p.result.Steps += p.runner.learn(b)
	ends := p.ends(b)
	counted := make([][]end, len(p.policy.Rules)+1) // by rule
	for _, e := range ends {
		if e.answer.flaw != "" {
			if err := p.search(b, func(a answer) bool { return a.flaw != "" }); err != nil {
				return err
			}
			continue
		}
		counted[e.answer.rule] = append(counted[e.answer.rule], e)
		if e.answer.audit >= 0 {
			counted[e.answer.audit] = append(counted[e.answer.audit], e)
		}
	}
	for i := range p.policy.Rules {
		if err := p.effort.spend(len(ends)); err != nil {
			return err
		}
		late := p.late(i)
		for _, e := range ends {
			if late.bad(e.answer) && p.match[i].on(e.reached) != never_ {
				if err := p.absent(p.match[i], b, late); err != nil {
					return err
				}
				break
			}
		}
		early := question{bad: func(a answer) bool { return a.rule == i || a.audit == i }}
		for _, e := range counted[i] {
			if p.differ[i].on(e.reached) != never_ {
				if err := p.absent(p.differ[i], b, early); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// bound learns which rules joined numbers lead to.
func (p *part) bound() {
	p.decided = newBounds(p.graph, func(tail int32) int { return p.tails[tail].rule })
	p.first = p.decided
	if slices.ContainsFunc(p.policy.Rules, func(r compiler.Rule) bool { return r.Audit }) {
		p.first = newBounds(p.graph, func(tail int32) int { return p.tails[tail].first() })
	}
}

// first is the first rule that an answer counts.
func (a answer) first() int {
	if a.audit >= 0 {
		return a.audit
	}
	return a.rule
}

// question is which answers must not come out of a box.
type question struct {
	bad    func(answer) bool
	bounds *bounds // if set, the bad answers are those that count no rule up to this one
	rule   int
}

// late asks for the answers that come of no rule up to this one.
func (p *part) late(rule int) question {
	if p.policy.Rules[rule].Audit {
		return question{func(a answer) bool { return a.first() > rule }, p.first, rule}
	}
	return question{func(a answer) bool { return a.rule > rule }, p.decided, rule}
}

// end is an answer with a box that holds all that get it.
type end struct {
	answer  answer
	reached []set
}

// ends follows a box to its answers, the latest rules first.
func (p *part) ends(b []set) []end {
	var list []end
	index := map[answer]int{}
	p.result.Steps += p.runner.run(b, func(id int32, reached []set) bool {
		if !p.graph.nodes[id].tail {
			return true
		}
		a := p.tails[id]
		if i, ok := index[a]; ok {
			unite(list[i].reached, reached)
			return false
		}
		index[a] = len(list)
		list = append(list, end{a, slices.Clone(reached)})
		return false
	})
	slices.SortStableFunc(list, func(a, b end) int { return cmp.Compare(b.answer.rule, a.answer.rule) })
	return list
}

// absent shows that no connection in the box for which the formula holds gets one of
// the answers.
func (p *part) absent(f *formula, b []set, q question) error {
	var list [][]set
	if err := f.boxes(b, func(b []set) { list = append(list, b) }); err != nil {
		return err
	}
	for _, piece := range list {
		if err := p.avoids(piece, q); err != nil {
			return err
		}
	}
	return nil
}

// maxCuts bounds how often a box is cut in two before its paths are looked at one by
// one.
const maxCuts = 1000

// avoids shows that no connection in the box gets one of the answers. All paths are
// followed at once; where paths join, what they said of two variables together is
// lost, so that a box may seem to get an answer that it does not. Then it is cut at
// a test that the program makes more than once.
func (p *part) avoids(b []set, q question) error {
	work := [][]set{b}
	for cuts := 0; len(work) > 0; {
		if err := p.effort.spend(perNode * len(p.runner.seen)); err != nil {
			return err
		}
		b, work = work[len(work)-1], work[:len(work)-1]
		p.result.Boxes++
		tails, suspect := p.suspects(b, q)
		if len(tails) == 0 {
			continue
		}
		if cuts == 0 {
			if err := p.refute(suspect, answer{}); !errors.Is(err, errDoubt) {
				return err
			}
		}
		halves := p.runner.cut(tails, b)
		if cuts++; len(halves) < 2 || cuts > maxCuts {
			if err := p.search(b, q.bad); err != nil {
				return err
			}
			continue
		}
		work = append(work, halves...)
	}
	return nil
}

// suspects gives the tails with bad answers that a box seems to reach, and the box that
// reaches one of them.
func (p *part) suspects(b []set, q question) (tails []int32, box []set) {
	p.result.Steps += p.runner.run(b, func(id int32, reached []set) bool {
		if q.bounds != nil && q.bounds.within(id, reached, q.rule) {
			return false
		}
		if p.graph.nodes[id].tail && q.bad(p.tails[id]) {
			tails = append(tails, id)
			box = slices.Clone(reached)
		}
		return true
	})
	return tails, box
}

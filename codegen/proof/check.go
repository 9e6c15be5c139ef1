package proof

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// checker compares an object with a policy.
type checker struct {
	policy   *compiler.Policy
	program  *codegen.Program
	counters bool // the object counts decisions by rule
	deadline time.Time
	maps     []mapInfo
	result   *Result
}

// errWrong is that the object is not the policy.
type errWrong struct {
	reason string
	seen   *Counterexample
}

func (e *errWrong) Error() string { return e.reason }

// function proves one entry point. A test that is not followed is refused unless it
// makes no difference: then the proof goes through both ways.
func (c *checker) function(f *function) error {
	m := c.machine(f)
	g, err := explore(m, c.deadline)
	if err != nil {
		return err
	}
	c.result.Nodes += len(g.order)
	c.result.Idle += g.idle
	err = c.decisions(g)
	var wrong *errWrong
	if slot := g.unfollowed(); err != nil && slot >= 0 && !errors.As(err, &wrong) {
		m.slot = slot
		return m.strange("tests what is not understood")
	}
	return err
}

// decisions proves the graph of an entry point.
func (c *checker) decisions(g *graph) error {
	tails := c.tails(g)
	for _, t := range c.kinds(g) {
		p := &part{checker: c, graph: g, terms: t, tails: tails}
		p.formulas()
		p.runner = newRunner(g, t.count)
		for _, b := range p.start() {
			if err := p.prove(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) machine(f *function) machine {
	return machine{function: f, view: viewOf(c.policy.Hook, f.ipv6()), maps: c.maps}
}

// tails gives the answers of the graph's ends. Those that are no answers matter only
// if a connection comes there.
func (c *checker) tails(g *graph) map[int32]answer {
	tails := map[int32]answer{}
	entered := func(id int32) {
		if _, done := tails[id]; !done && g.nodes[id].tail {
			tails[id] = c.answerOf(g, id)
		}
	}
	entered(g.root)
	for _, id := range g.order {
		if !g.nodes[id].tail {
			for _, kid := range g.nodes[id].kids {
				entered(kid)
			}
		}
	}
	return tails
}

// kinds are the kinds of connections that a function judges.
func (c *checker) kinds(g *graph) []*terms {
	ipv6 := g.function.ipv6()
	list := []*terms{{graph: g, mapped: true, ipv6: ipv6}}
	if ipv6 {
		list = append(list, &terms{graph: g, ipv6: true})
	}
	for _, t := range list {
		t.count = g.variables()
		t.members = map[memberKey]variable{}
	}
	return list
}

// part is the proof for one kind of connections.
type part struct {
	*checker
	graph  *graph
	terms  *terms
	tails  map[int32]answer
	match  []*formula // by rule: it matches
	differ []*formula // by rule: it does not
	runner *runner
}

func (p *part) formulas() {
	for i := range p.policy.Rules {
		r := &p.policy.Rules[i]
		f := p.terms.condition(r.Cond, matchesUnknown(p.policy, r))
		p.match = append(p.match, f)
		p.differ = append(p.differ, f.negated())
	}
}

// matchesUnknown is the table of the language: under fail-closed a deny matches where
// its condition is unknown, under fail-open an allow does.
func matchesUnknown(p *compiler.Policy, r *compiler.Rule) bool {
	denies := r.Verdict == 0
	if p.FailOpen {
		return !denies
	}
	return denies
}

// start gives the boxes that hold all connections of the kind. Both addresses are of
// one family.
func (p *part) start() [][]set {
	b := make([]set, p.terms.count)
	for v := range numFields {
		b[v] = set{{0, v.last()}}
	}
	for v := int(numFields); v < p.terms.count; v++ {
		b[v] = set{{0, 1}}
	}
	for i := range p.graph.joins {
		b[p.graph.joinVariable(int32(i))] = nil
	}
	halves := func(b []set, high, low variable) [][]set {
		x, y := slices.Clone(b), slices.Clone(b)
		if p.terms.mapped {
			x[high], x[low] = point(0), mappedLow
			return [][]set{x}
		}
		x[high] = set{{1, math.MaxUint64}}
		y[high], y[low] = point(0), mappedLow.not(math.MaxUint64)
		return [][]set{x, y}
	}
	var list [][]set
	for _, x := range halves(b, remoteHigh, remoteLow) {
		list = append(list, halves(x, localHigh, localLow)...)
	}
	return list
}

// prove shows that every connection in the box gets the answer of the policy.
func (p *part) prove(b []set) error {
	if p.counters {
		err := p.byRules(b)
		if !errors.Is(err, errBoxes) && !errors.Is(err, errSteps) {
			return err
		}
	}
	return p.byPaths(b)
}

var errSteps = errors.New("too many paths")

// byRules proves rule by rule, where counters show which rule decided: wherever a
// rule matches, the rule that the program counts is this one or an earlier one; and
// where a rule does not match, the program does not count it. Both together leave
// only the first rule that matches. For audit rules it is the same, but that only
// one before the deciding rule is counted.
func (p *part) byRules(b []set) error {
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
		audit := p.policy.Rules[i].Audit
		late := func(a answer) bool { return a.rule > i }
		if audit {
			late = func(a answer) bool { return a.rule > i && (a.audit < 0 || a.audit > i) }
		}
		for _, e := range ends {
			if late(e.answer) && p.match[i].on(e.reached) != never_ {
				if err := p.absent(p.match[i], b, late); err != nil {
					return err
				}
				break
			}
		}
		early := func(a answer) bool { return a.rule == i || a.audit == i }
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

// end is an answer with a box that holds all that get it.
type end struct {
	answer  answer
	reached []set
}

// ends follows a box to its answers, the latest rules first.
func (p *part) ends(b []set) []end {
	var list []end
	index := map[answer]int{}
	p.result.Steps += p.runner.run(b, func(tail int32, reached []set) {
		a := p.tails[tail]
		if i, ok := index[a]; ok {
			was := list[i].reached
			for v := range was {
				was[v] = was[v].or(reached[v])
			}
			return
		}
		index[a] = len(list)
		list = append(list, end{a, slices.Clone(reached)})
	})
	slices.SortStableFunc(list, func(a, b end) int { return cmp.Compare(b.answer.rule, a.answer.rule) })
	return list
}

// absent shows that no connection in the box for which the formula holds gets one of
// the answers.
func (p *part) absent(f *formula, b []set, bad func(answer) bool) error {
	var list [][]set
	if err := f.boxes(b, func(b []set) { list = append(list, b) }); err != nil {
		return err
	}
	for _, piece := range list {
		if err := p.avoids(piece, bad); err != nil {
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
func (p *part) avoids(b []set, bad func(answer) bool) error {
	work := [][]set{b}
	for cuts := 0; len(work) > 0; {
		if err := p.outOfTime(); err != nil {
			return err
		}
		b, work = work[len(work)-1], work[:len(work)-1]
		p.result.Boxes++
		var tails []int32
		var suspect []set
		p.result.Steps += p.runner.run(b, func(tail int32, reached []set) {
			if bad(p.tails[tail]) {
				tails = append(tails, tail)
				suspect = slices.Clone(reached)
			}
		})
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
			if err := p.search(b, bad); err != nil {
				return err
			}
			continue
		}
		work = append(work, halves...)
	}
	return nil
}

func (c *checker) outOfTime() error {
	if !c.deadline.IsZero() && time.Now().After(c.deadline) {
		return errTime
	}
	return nil
}

// search follows every path of a box by itself, to find one that leads to a bad
// answer or to show that there is none.
func (p *part) search(b []set, bad func(answer) bool) error {
	left := maxPathSteps
	var doubt error
	err := p.paths(p.graph.root, b, &left, func(a answer, reached []set) error {
		if !bad(a) || doubt != nil && left%16 != 0 {
			return nil
		}
		if err := p.refute(reached, a); !errors.Is(err, errDoubt) {
			return err
		}
		doubt = errDoubt
		return nil
	})
	return cmp.Or(err, doubt)
}

const maxPathSteps = 50_000

func (p *part) paths(id int32, b []set, left *int, visit func(answer, []set) error) error {
	if *left--; *left < 0 {
		return errSteps
	}
	if p.graph.nodes[id].tail {
		return visit(p.tails[id], b)
	}
	var err error
	p.graph.forward(id, b, slices.Clone[[]set], func(kid int32, b []set) {
		if err == nil {
			err = p.paths(kid, b, left, visit)
		}
	})
	return err
}

// errDoubt is that a path looks wrong but no connection on it was found to be.
var errDoubt = errors.New("a path that could not be decided")

// refute looks for a connection in the box that shows the difference.
func (p *part) refute(b []set, a answer) error {
	for try := range 64 {
		r, sets, failed := p.pick(b, uint64(try))
		seen, err := p.try(p.graph.function, r, sets, failed)
		if err != nil {
			return err
		}
		if seen != nil {
			return &errWrong{reason: seen.String(), seen: seen}
		}
	}
	if a.flaw != "" { // such as an event with wrong bytes, which shows on few connections
		return &errWrong{reason: fmt.Sprintf("%s has an end with %s", p.graph.function.attach.Section(), a.flaw)}
	}
	return errDoubt
}

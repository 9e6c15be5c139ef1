package proof

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// checker compares an object with a policy.
type checker struct {
	policy   *compiler.Policy
	program  *codegen.Program
	table    *table       // what is compared, if it is no object
	linux    *linuxObject // the code of a program for target linux
	windows  bool         // it is for target windows
	counters bool         // the object counts decisions by rule
	effort   effort
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
	g, err := explore(m, &c.effort)
	if err != nil {
		return err
	}
	c.result.Nodes += len(g.order)
	c.result.Idle += g.idle
	if n := g.hasty(); n != nil {
		return &errWrong{reason: fmt.Sprintf("%s counts or writes an event before it has decided", f.attach.Section())}
	}
	if d := f.decision; d != nil && d.early {
		err = c.earlyDecisions(g)
	} else {
		err = c.decisions(g)
	}
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
		p.runner, p.forest = newRunner(g, t.count), newSections(p)
		for _, b := range p.start() {
			if err := p.prove(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// earlyDecisions proves the graph of a decision of the early stages.
func (c *checker) earlyDecisions(g *graph) error {
	for _, t := range c.kinds(g) {
		p := &part{checker: c, graph: g, terms: t}
		p.formulas()
		e := newEarly(p)
		for _, b := range p.start() {
			if err := e.prove(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) machine(f *function) machine {
	m := machine{function: f, maps: c.maps}
	if f.decision != nil {
		m.view = f.decision.view()
	} else {
		m.view = viewOf(c.policy.Hook, f.ipv6())
	}
	return m
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
	var list []*terms
	if d := g.function.decision; d == nil || !d.ipv6 || !d.split {
		list = append(list, &terms{graph: g, mapped: true, ipv6: ipv6})
	}
	if ipv6 {
		list = append(list, &terms{graph: g, ipv6: true})
	}
	for _, t := range list {
		t.count = g.variables()
		t.members = map[memberKey]variable{}
		if !c.windows {
			t.devices = map[string]variable{}
			t.named = named(c.policy)
		}
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
	forest *sections // nil where it is not proved section by section

	decided *bounds // of the deciding rule
	first   *bounds // of the first rule, audit rules included
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
	if p.terms.devices != nil {
		b[compartment] = point(0)
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
	if p.forest != nil {
		err := p.forest.prove(b)
		if !errors.Is(err, errDoubt) && !errors.Is(err, errSteps) {
			return err
		}
	}
	if p.counters {
		err := p.byRules(b)
		if !errors.Is(err, errBoxes) && !errors.Is(err, errSteps) {
			return err
		}
	}
	return p.byPaths(b)
}

var errSteps = errors.New("too many paths")

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
	if err := p.effort.spend(perNode); err != nil {
		return err
	}
	if p.graph.nodes[id].tail {
		return visit(p.tails[id], b)
	}
	var err error
	p.graph.forward(id, b, nil, slices.Clone[[]set], func(kid int32, b []set) {
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
		if err := p.effort.spend(perPoint + len(p.policy.Rules)); err != nil {
			return err
		}
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
		return &errWrong{reason: fmt.Sprintf("%s has an end with %s", p.graph.function.name(), a.flaw)}
	}
	return errDoubt
}

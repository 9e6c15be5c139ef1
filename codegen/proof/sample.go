package proof

import "slices"

// maxPoints is four times as many connections as are tried of each box of inputs where
// nothing could be proved.
const maxPoints = 4000

// sample compares policy and instructions on connections at the bounds of the
// rules' conditions.
func (c *checker) sample(f *function, limit int) *Counterexample {
	left := newEffort(limit)
	for _, t := range c.kinds(&graph{function: f, maps: c.maps}) {
		p := &part{checker: c, graph: t.graph, terms: t}
		p.formulas()
		bounds := make([][]uint64, t.count)
		for _, m := range p.match {
			m.bounds(bounds)
		}
		at := make([]set, t.count)
		for v := range at {
			at[v] = points(bounds[v])
		}
		for _, b := range p.start() {
			near := slices.Clone(b)
			for v := range numFields {
				if some := at[v].and(b[v]); len(some) > 0 {
					near[v] = some
				}
			}
			for try := range uint64(maxPoints / 4) {
				if left.spend(perPoint+len(c.policy.Rules)) != nil {
					return nil
				}
				box := near
				if try%8 == 7 {
					box = b
				}
				seen := c.point(p, f, box, try)
				if seen != nil {
					return seen
				}
			}
		}
	}
	return nil
}

func (c *checker) point(p *part, f *function, b []set, try uint64) *Counterexample {
	r, around, failed := p.pick(b, try)
	if len(c.policy.Sets)+len(around.devices) == 0 {
		around = nil
	}
	seen, err := c.try(f, r, around, failed)
	if err == nil {
		c.result.Points++
	}
	return seen
}

// bounds collects, by variable, the values at and beside the ends of the tests.
func (f *formula) bounds(by [][]uint64) {
	for _, p := range f.parts {
		p.bounds(by)
	}
	if f.kind != test {
		return
	}
	for _, a := range f.in {
		by[f.v] = append(by[f.v], a.first-min(a.first, 1), a.first, a.last, a.last+min(^a.last, 1))
	}
}

// points is the set of some numbers.
func points(list []uint64) set {
	slices.Sort(list)
	var s set
	for _, n := range list {
		if k := len(s); k > 0 && n <= s[k-1].last+min(^s[k-1].last, 1) {
			s[k-1].last = n
			continue
		}
		s = append(s, span{n, n})
	}
	return s
}

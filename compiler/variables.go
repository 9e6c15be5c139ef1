package compiler

import "slices"

// variables lists what the policy's rules test in connections of one address
// family, in a fixed order, and how much.
func variables(p *Policy, ipv6 bool) ([]Var, map[Var]weight) {
	seen := map[Var]weight{}
	for i := range p.Rules {
		inRule := map[Var]int{}
		countTests(p.Rules[i].Cond, ipv6, inRule)
		for v, cuts := range inRule {
			seen[v] = weight{seen[v].rules + 1, seen[v].cuts + cuts}
		}
	}
	var vars []Var
	add := func(v Var) {
		if _, ok := seen[v]; ok {
			vars = append(vars, v)
		}
	}
	for f := range Field(NumFields) {
		for part := Whole; part <= Low64; part++ {
			add(Var{Field: f, Part: part})
		}
		for _, s := range p.Sets {
			add(Var{Field: f, Set: s})
		}
		for _, i := range p.Interfaces {
			add(Var{Field: f, Interface: i})
		}
	}
	return slices.Clip(vars), seen
}

// countTests adds up the bounds of ranges that a condition tests, by variable.
func countTests(c Cond, ipv6 bool, cuts map[Var]int) {
	switch c := c.(type) {
	case All:
		for _, x := range c {
			countTests(x, ipv6, cuts)
		}
	case Any:
		for _, x := range c {
			countTests(x, ipv6, cuts)
		}
	case Not:
		countTests(c.X, ipv6, cuts)
	case Unknown:
		cuts[Var{Field: c.Field}] += 2
	case InSet:
		cuts[Var{Field: c.Field, Set: c.Set}]++
		countUnknown(c.Field, cuts)
	case IsInterface:
		if c.Interface.Bound {
			cuts[Var{Field: c.Field}] += 2
			return
		}
		cuts[Var{Field: c.Field, Interface: c.Interface}]++
		countUnknown(c.Field, cuts)
	case In:
		switch {
		case c.Field == Family:
		case c.Field != RemoteAddress && c.Field != LocalAddress:
			cuts[Var{Field: c.Field}] += 2 * len(c.Ranges)
		case !ipv6:
			cuts[Var{Field: c.Field, Part: Word32}] += 2 * len(within(c.Ranges, mapped, 0))
		default:
			n := len(halves(c.Ranges))
			cuts[Var{Field: c.Field, Part: High64}] += 2 * n
			cuts[Var{Field: c.Field, Part: Low64}] += n
		}
	}
}

func countUnknown(f Field, cuts map[Var]int) {
	if len(f.NotAvailable()) > 0 {
		cuts[Var{Field: f}]++
	}
}

package compiler

import "slices"

// variables lists what the policy's rules test in connections of one address
// family, in a fixed order.
func variables(p *Policy, ipv6 bool) []Var {
	seen := map[Var]bool{}
	for i := range p.Rules {
		addVariables(p.Rules[i].Cond, ipv6, seen)
	}
	var vars []Var
	add := func(v Var) {
		if seen[v] {
			vars = append(vars, v)
		}
	}
	for f := range Field(NumFields) {
		for part := Whole; part <= Low64; part++ {
			add(Var{Field: f, Part: part})
		}
	}
	for f := range Field(NumFields) {
		for _, s := range p.Sets {
			add(Var{Field: f, Set: s})
		}
		for _, i := range p.Interfaces {
			add(Var{Field: f, Interface: i})
		}
	}
	return slices.Clip(vars)
}

func addVariables(c Cond, ipv6 bool, seen map[Var]bool) {
	switch c := c.(type) {
	case All:
		for _, x := range c {
			addVariables(x, ipv6, seen)
		}
	case Any:
		for _, x := range c {
			addVariables(x, ipv6, seen)
		}
	case Not:
		addVariables(c.X, ipv6, seen)
	case Unknown:
		seen[Var{Field: c.Field}] = true
	case InSet:
		seen[Var{Field: c.Field, Set: c.Set}] = true
		seen[Var{Field: c.Field}] = seen[Var{Field: c.Field}] || !c.Field.alwaysKnown()
	case IsInterface:
		seen[Var{Field: c.Field}] = true
		if !c.Interface.Bound {
			seen[Var{Field: c.Field, Interface: c.Interface}] = true
		}
	case In:
		switch {
		case c.Field == Family:
		case c.Field != RemoteAddress && c.Field != LocalAddress:
			seen[Var{Field: c.Field}] = true
		case !ipv6:
			seen[Var{Field: c.Field, Part: Word32}] = true
		default:
			seen[Var{Field: c.Field, Part: High64}] = true
			seen[Var{Field: c.Field, Part: Low64}] = true
		}
	}
}

// bounds counts the bounds of ranges in a condition.
func bounds(c Cond) int {
	n := 0
	switch c := c.(type) {
	case All:
		for _, x := range c {
			n += bounds(x)
		}
	case Any:
		for _, x := range c {
			n += bounds(x)
		}
	case Not:
		n = bounds(c.X)
	case In:
		n = 2 * len(c.Ranges)
	default:
		n = 2
	}
	return n
}

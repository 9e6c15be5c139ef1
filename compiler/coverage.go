package compiler

// Coverage counts what decided the requests it has seen.
type Coverage struct {
	policy *Policy
	Rules  []RuleCoverage // by index in Policy.Rules; the last is the default
}

// RuleCoverage is how a rule took part in decisions.
type RuleCoverage struct {
	Rule    string // id
	Decided int    // requests that the rule decided, or would have but for audit
	Atoms   []AtomCoverage
}

// AtomCoverage is how one comparison in a rule's condition took part.
type AtomCoverage struct {
	Cond  string // interface_type == wifi
	Match int    // requests for which the comparison was a reason for the rule to match
	Miss  int    // requests for which it was a reason not to
}

// NewCoverage begins to count for a policy.
func NewCoverage(p *Policy) *Coverage {
	c := &Coverage{policy: p, Rules: make([]RuleCoverage, len(p.Rules)+1)}
	for i := range p.Rules {
		c.Rules[i].Rule = p.Rules[i].ID
		for _, atom := range atoms(p.Rules[i].Cond, nil) {
			c.Rules[i].Atoms = append(c.Rules[i].Atoms, AtomCoverage{Cond: atom.String()})
		}
	}
	c.Rules[len(p.Rules)].Rule = DefaultRule
	return c
}

// atoms lists the comparisons of a condition in the order of explain.
func atoms(c Cond, list []Cond) []Cond {
	switch c := c.(type) {
	case Not:
		return atoms(c.X, list)
	case All:
		for _, part := range c {
			list = atoms(part, list)
		}
		return list
	case Any:
		if isComparison(c) {
			break
		}
		for _, part := range c {
			list = atoms(part, list)
		}
		return list
	}
	return append(list, c)
}

// Add counts a request.
func (c *Coverage) Add(r *Request) {
	c.policy.follow(r, func(rule int, value Truth, reasons []reason) {
		matches := c.policy.matchesAt(rule, value)
		if matches {
			c.Rules[rule].Decided++
		}
		for _, x := range reasons {
			atom := &c.Rules[rule].Atoms[x.atom]
			if matches {
				atom.Match++
			} else {
				atom.Miss++
			}
		}
	})
}

// Ratio is the share of rules that decided and of comparisons that were a reason
// for a match and for a miss, from 0 to 1. A policy without rules is covered.
func (c *Coverage) Ratio() float64 {
	seen, all := 0, 0
	count := func(n int) {
		all++
		if n > 0 {
			seen++
		}
	}
	for _, rule := range c.Rules {
		count(rule.Decided)
		for _, atom := range rule.Atoms {
			count(atom.Match)
			count(atom.Miss)
		}
	}
	return float64(seen) / float64(all)
}

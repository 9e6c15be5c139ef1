package compiler

import (
	"fmt"
	"slices"
)

// DefaultTableRanges is how many ranges a test has at most that becomes comparisons.
// A lookup in a table costs about as much as a tree of a thousand comparisons, and
// takes no instructions of its own.
const DefaultTableRanges = 512

// WithTables gives the policy with each test of a field against more than so many
// ranges as one of membership in a set without a name of its own, for code
// generation to look up in a table. Such sets stand after the dynamic ones and
// do not change. The policy decides as before.
func (p *Policy) WithTables(ranges int) *Policy {
	t := tabulation{most: ranges, byHash: map[uint64][]*Set{}}
	rules := slices.Clone(p.Rules)
	for i := range rules {
		rules[i].Cond = withTests(rules[i].Cond, t.test)
	}
	if len(t.sets) == 0 {
		return p
	}
	q := *p
	q.Rules, q.Sets = rules, append(slices.Clip(p.Sets), t.sets...)
	return &q
}

type tabulation struct {
	most   int
	sets   []*Set
	byHash map[uint64][]*Set
}

func (t *tabulation) test(c Cond) Cond {
	if in, ok := c.(In); ok && len(in.Ranges) > t.most {
		return InSet{in.Field, t.set(in)}
	}
	return c
}

// set is the one for a test, the same for equal ones.
func (t *tabulation) set(c In) *Set {
	field := c.Field.kind()
	h := uint64(field)
	for _, r := range c.Ranges {
		h = mix(mix(mix(mix(h^r.First.Hi)^r.First.Lo)^r.Last.Hi) ^ r.Last.Lo)
	}
	for _, s := range t.byHash[h] {
		if s.Field == field && slices.Equal(s.Ranges, c.Ranges) {
			return s
		}
	}
	// No set of a policy text has a name that begins with a digit.
	s := &Set{Name: fmt.Sprint(len(t.sets) + 1), Field: field, Ranges: c.Ranges}
	t.sets = append(t.sets, s)
	t.byHash[h] = append(t.byHash[h], s)
	return s
}

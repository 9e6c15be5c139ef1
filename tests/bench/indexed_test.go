package bench

import (
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
)

// indexed is the reference with an index, for a hundred thousand rules: for each byte of a
// field's value the rules that a test of the field does not rule out, as a bit set.
// What is left is asked of the reference's own conditions, in order.
type indexed struct {
	policy *compiler.Policy
	fields []fieldIndex
}

type fieldIndex struct {
	field compiler.Field
	shift int // of the byte that counts
	rules [256][]uint64
}

// newIndexed indexes the rules of a policy by fields that are always known.
func newIndexed(p *compiler.Policy) *indexed {
	x := &indexed{policy: p}
	for _, f := range []struct {
		field compiler.Field
		shift int
	}{
		{compiler.RemoteAddress, 24}, {compiler.RemoteAddress, 16}, {compiler.LocalAddress, 24}, {compiler.LocalAddress, 16},
		{compiler.RemotePort, 8}, {compiler.Protocol, 0},
	} {
		i := fieldIndex{field: f.field, shift: f.shift}
		for b := range i.rules {
			i.rules[b] = make([]uint64, len(p.Rules)/64+1)
		}
		for rule := range p.Rules {
			for b := range 256 {
				if i.possible(p.Rules[rule].Cond, uint64(b)) {
					i.rules[b][rule/64] |= 1 << (rule % 64)
				}
			}
		}
		x.fields = append(x.fields, i)
	}
	return x
}

// possible reports whether a condition may hold for a value with the byte.
func (i *fieldIndex) possible(c compiler.Cond, b uint64) bool {
	switch c := c.(type) {
	case compiler.All:
		for _, part := range c {
			if !i.possible(part, b) {
				return false
			}
		}
	case compiler.In:
		if c.Field != i.field {
			return true
		}
		for _, r := range c.Ranges {
			if r.First.Hi != r.Last.Hi || (r.Last.Lo-r.First.Lo)>>i.shift >= 255 {
				return true
			}
			if (b-r.First.Lo>>i.shift)&255 <= (r.Last.Lo>>i.shift-r.First.Lo>>i.shift)&255 {
				return true
			}
		}
		return false
	}
	return true
}

// decide is what Policy.Eval says.
func (x *indexed) decide(r *compiler.Request) compiler.Decision {
	possible := make([][]uint64, len(x.fields))
	for f := range x.fields {
		i := &x.fields[f]
		possible[f] = i.rules[byte(r.Value(i.field).Lo>>i.shift)]
	}
	for word := range len(x.policy.Rules)/64 + 1 {
		left := ^uint64(0)
		for _, rules := range possible {
			left &= rules[word]
		}
		for ; left != 0; left &= left - 1 {
			rule := 64*word + bits.TrailingZeros64(left)
			if rule < len(x.policy.Rules) && x.policy.Matches(&x.policy.Rules[rule], r) {
				return compiler.Decision{Verdict: x.policy.Rules[rule].Verdict, Rule: rule, Audit: -1}
			}
		}
	}
	return compiler.Decision{Verdict: x.policy.Default, Rule: len(x.policy.Rules), Audit: -1}
}

// decideAll answers requests, and makes sure of as many of the answers as the plain
// reference gives in about a second.
func (x *indexed) decideAll(t *testing.T, requests []compiler.Request) []compiler.Decision {
	answers := make([]compiler.Decision, len(requests))
	every := 1 + len(requests)*len(x.policy.Rules)/50_000_000
	for i := range requests {
		answers[i] = x.decide(&requests[i])
		if i%every == 0 {
			require.Equal(t, x.policy.Eval(&requests[i]), answers[i], "%+v", requests[i])
		}
	}
	return answers
}

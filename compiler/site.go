package compiler

import "github.com/hopgate/hopgate/lang"

// site is where a condition stands in the text. The parts of an All, Any or Not
// have places of their own, or stand where the whole does.
type site struct {
	lang.Span
	parts []site
}

func (p site) part(i int) site {
	if len(p.parts) == 0 {
		return p
	}
	return p.parts[i]
}

// appendParts adds the sites of n parts.
func (p site) appendParts(to []site, n int) []site {
	for i := range n {
		to = append(to, p.part(i))
	}
	return to
}

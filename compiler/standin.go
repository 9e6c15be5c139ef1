package compiler

import (
	"sort"

	"github.com/hopgate/hopgate/lang"
)

// standIns gives for each rule the leaf that stands for it. With merge that may be
// another rule of the same verdict: in a single tree any; in a forest, where the lowest
// rule wins, a later one that stands before all that contradict the first.
func (g *graphBuilder) standIns(merge, single bool) []ref {
	p := g.policy
	then := make([]ref, len(p.Rules))
	for i := range then {
		then[i] = leaf(i)
	}
	switch {
	case merge && single:
		named := map[lang.Verdict]ref{p.Default: leaf(len(p.Rules))}
		for i := range p.Rules {
			r := &p.Rules[i]
			if _, ok := named[r.Verdict]; !ok && !r.Log {
				named[r.Verdict] = then[i]
			}
			if !r.Log {
				then[i] = named[r.Verdict]
			}
		}
	case merge:
		named := map[lang.Verdict][]int{p.Default: {len(p.Rules)}} // by rules of a verdict, the last ones first
		for i := len(p.Rules) - 1; i >= 0; i-- {
			r := &p.Rules[i]
			if r.Log {
				continue
			}
			names := named[r.Verdict]
			at := sort.Search(len(names), func(k int) bool { return names[k] < g.contradicted[i] })
			if at == len(names) {
				names = append(names, i)
				named[r.Verdict] = names
			}
			then[i] = leaf(names[at])
		}
	}
	return then
}

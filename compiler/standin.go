package compiler

import (
	"math"

	"github.com/hopgate/hopgate/lang"
)

// standIns gives for each rule the leaf that stands for it. With merge that may be
// another rule of the same verdict: in a single tree any; in a forest, where the lowest
// rule wins, the next one that does, if no rule before it contradicts the first: the
// lower a rule that a tree finds, the more often later trees need not be asked.
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
		const none = math.MaxInt
		named := map[lang.Verdict]int{lang.Deny: none, lang.Allow: none, lang.AllowHard: none} // after i
		for i := len(p.Rules) - 1; i >= 0; i-- {
			r := &p.Rules[i]
			switch end := g.contradicted[i]; {
			case r.Log:
			case end > len(p.Rules):
				then[i] = leaf(len(p.Rules))
			case named[r.Verdict] < end:
				then[i] = leaf(named[r.Verdict])
			default:
				named[r.Verdict] = i
			}
		}
	}
	return then
}

package compiler

import (
	"cmp"
	"slices"

	"github.com/hopgate/hopgate/lang"
)

// entry is a range that a word of a set stands for.
type entry struct {
	Range
	word lang.Word
}

// maxOverlaps is how many entries of one set are reported.
const maxOverlaps = 10

// overlaps warns of entries of a set that lie, all or in part, in another entry.
func (c *checker) overlaps(s *set) {
	var entries [transports][]entry
	for w := range s.words() {
		if w.Ref {
			continue
		}
		u := union{kind: s.union.kind}
		if p := u.add(w.Text); p != nil {
			continue
		}
		for t, ranges := range u.ranges {
			for _, r := range ranges {
				entries[t] = append(entries[t], entry{r, w})
			}
		}
	}
	found := 0
	for _, list := range entries {
		slices.SortStableFunc(list, func(a, b entry) int {
			return cmp.Or(a.First.Compare(b.First), b.Last.Compare(a.Last))
		})
		for i := 1; i < len(list) && found < maxOverlaps; i++ {
			widest, e := list[i-1], list[i]
			if e.First.Compare(widest.Last) > 0 || e.word.Span == widest.word.Span && e.word.Source != nil {
				continue
			}
			found++
			c.overlap(e, widest)
			if e.Last.Compare(widest.Last) < 0 {
				list[i] = widest
			}
		}
	}
}

func (c *checker) overlap(e, other entry) {
	format := "`%s` overlaps `%s`, another entry of the set"
	switch {
	case e.Range == other.Range:
		format = "`%s` is in the set already, as `%s`"
	case e.Last.Compare(other.Last) <= 0:
		format = "`%s` lies within `%s`, another entry of the set"
	}
	c.warnf(e.word.Span, codeOverlappingEntries, format, e.word.Text, other.word.Text).
		Notes = []lang.Note{{Span: other.word.Span, Message: "the other entry"}}
}

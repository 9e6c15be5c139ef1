package compiler

import (
	"cmp"
	"slices"

	"github.com/hopgate/hopgate/lang"
)

// entry is a range that a word of a set stands for.
type entry struct {
	Range
	word int // its number
}

// compare orders entries by where they begin, wide ones first, then as written.
func (e entry) compare(f entry) int {
	return cmp.Or(e.First.Compare(f.First), f.Last.Compare(e.Last), e.word-f.word)
}

// maxOverlaps is how many entries of one set are reported.
const maxOverlaps = 10

// overlaps warns of entries of a set that lie, all or in part, in another entry.
func (c *checker) overlaps(s *set) {
	var words []lang.Word
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
				entries[t] = append(entries[t], entry{r, len(words)})
			}
		}
		words = append(words, w)
	}
	found := 0
	for _, list := range entries {
		slices.SortFunc(list, entry.compare)
		for i := 1; i < len(list) && found < maxOverlaps; i++ {
			widest, e := list[i-1], list[i]
			if e.First.Compare(widest.Last) > 0 || e.word == widest.word {
				continue
			}
			found++
			c.overlap(e.Range, widest.Range, words[e.word], words[widest.word])
			if e.Last.Compare(widest.Last) < 0 {
				list[i] = widest
			}
		}
	}
}

func (c *checker) overlap(e, other Range, word, otherWord lang.Word) {
	format := "`%s` overlaps `%s`, another entry of the set"
	switch {
	case e == other:
		format = "`%s` is in the set already, as `%s`"
	case e.Last.Compare(other.Last) <= 0:
		format = "`%s` lies within `%s`, another entry of the set"
	}
	c.warnf(word.Span, codeOverlappingEntries, format, word.Text, otherWord.Text).
		Notes = []lang.Note{{Span: otherWord.Span, Message: "the other entry"}}
}

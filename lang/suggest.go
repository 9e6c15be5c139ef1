package lang

import "strings"

// Suggest returns the candidate that word was most likely meant to be, or "" if
// none is near: a third of its letters wrong at the most, swapped neighbours
// counting once and letter case not at all. The first of equals wins.
func Suggest(word string, candidates []string) string {
	const longest = 64
	if len(word) > longest {
		return ""
	}
	best, bestDistance := "", 0
	for _, c := range candidates {
		if len(c) > longest {
			continue
		}
		limit := max(1, min(len(word), len(c))/3)
		d := distance(strings.ToLower(word), strings.ToLower(c))
		if d <= limit && (best == "" || d < bestDistance) && (len(word) > 1 || d == 0) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to make b of a.
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}

// didYouMean is a hint for an unknown word: the nearest candidate, or all of
// them after the introduction.
func didYouMean(word string, candidates []string, introduction string) string {
	if s := Suggest(word, candidates); s != "" {
		return "did you mean `" + s + "`?"
	}
	return introduction + orList(candidates)
}

// orList writes "`a`, `b` or `c`".
func orList(words []string) string { return wordList(words, " or ") }

// andList writes "`a`, `b` and `c`".
func andList(words []string) string { return wordList(words, " and ") }

func wordList(words []string, last string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(last)
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString("`" + w + "`")
	}
	return b.String()
}

package lang

import (
	"fmt"
	"strings"
	"unicode"
)

// What word processors and web pages put in the place of ASCII.
const (
	curlyQuotes = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
	longDashes  = "\u2010\u2011\u2012\u2013\u2014\u2212"
)

// plain is a text in ASCII as far as that can be guessed.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case strings.ContainsRune(longDashes, c):
			return '-'
		case strings.ContainsRune(curlyQuotes, c), isInvisible(c):
			return -1
		}
		return c
	}, text)
}

// plainHint says how to write a value without such characters; "" if it has none.
func plainHint(text string) string {
	if better := plain(text); better != text && isWord(better) {
		return "write `" + better + "`, in ASCII"
	}
	return ""
}

// isInvisible reports whether c cannot be told from a blank, or not be seen at all.
func isInvisible(c rune) bool {
	return c > unicode.MaxASCII && unicode.In(c, unicode.Zs, unicode.Cf)
}

// invisibleHint names the first such character of a text; "" if there is none.
func invisibleHint(text string) string {
	for _, c := range text {
		if isInvisible(c) {
			return fmt.Sprintf("there is an invisible character, U+%04X: write a blank or leave it out", c)
		}
	}
	return ""
}

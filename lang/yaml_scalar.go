package lang

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// passage gives a scalar's value with the place of each byte of it, and the offset
// where the scalar ends. Start is the offset of its quote, its block indicator or
// its first character.
func (d *document) passage(n *yaml.Node, start int) (passage, int) {
	text, value := d.source.Text, n.Value
	p := passage{source: d.source, text: value, base: start}
	var quote string
	block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		quote = `"`
	case n.Style&yaml.SingleQuotedStyle != 0:
		quote = `'`
	case block:
		line := bytes.IndexByte(text[start:], '\n')
		if line < 0 {
			return p, len(text)
		}
		p.base += line + 1
	}
	p.base += len(quote)
	if value == "" {
		return p, min(p.base+len(quote), len(text))
	}
	if bytes.HasPrefix(text[p.base:], []byte(value+quote)) && !strings.ContainsAny(value, "\n'\"") {
		return p, p.base + len(value+quote)
	}
	a := aligner{text: text, at: p.base, quote: quote, block: block}
	p.spots = a.align(value)
	return p, a.end()
}

// aligner finds where each byte of a scalar's value was written, by walking the
// text and the value side by side: YAML folds line breaks, drops indentation and
// resolves escapes.
type aligner struct {
	text  []byte
	at    int
	quote string // of the scalar; "" for a plain or a block scalar
	block bool
}

func (a *aligner) align(value string) []spot {
	spots := make([]spot, 0, len(value))
	put := func(bytes, width int) {
		end := min(a.at+width, len(a.text))
		for range bytes {
			spots = append(spots, spot{int32(a.at), int32(end)})
		}
		a.at = end
	}
	for i := 0; i < len(value); i = len(spots) {
		_, n := utf8.DecodeRuneInString(value[i:])
		if !isBlank(value[i]) || a.atContinuation() {
			a.skipBlanks()
		}
		switch {
		case !isBlank(value[i]):
			put(n, a.width())
		case a.at == len(a.text) || !isBlank(a.text[a.at]) && a.width() < 2:
			put(1, 0)
		default:
			folded, width := a.fold()
			put(min(folded, len(value)-i), width)
		}
	}
	return spots
}

// fold gives the bytes of the value that a blank in the text makes, and the bytes
// of text it takes: outside block scalars, a line break with the blanks around it
// is one space, or as many line breaks less one.
func (a *aligner) fold() (folded, width int) {
	breaks, end := 0, a.at
	for end < len(a.text) && isBlank(a.text[end]) {
		if a.text[end] == '\n' {
			breaks++
		}
		end++
	}
	if a.block || breaks == 0 {
		return 1, a.width()
	}
	return max(1, breaks-1), end - a.at
}

// skipBlanks passes over folding and indentation.
func (a *aligner) skipBlanks() {
	for a.at < len(a.text) {
		switch {
		case isBlank(a.text[a.at]):
			a.at++
		case a.atContinuation():
			a.at += 2
		default:
			return
		}
	}
}

// atContinuation reports whether the line break here is escaped.
func (a *aligner) atContinuation() bool {
	rest := a.text[a.at:]
	return a.quote == `"` && len(rest) > 1 && rest[0] == '\\' && (rest[1] == '\n' || rest[1] == '\r')
}

// width is how many bytes the next character of the text takes, as an escape
// perhaps.
func (a *aligner) width() int {
	rest := a.text[a.at:]
	switch {
	case len(rest) == 0:
		return 0
	case a.quote == `'` && rest[0] == '\'':
		return 2
	case a.quote == `"` && rest[0] == '\\' && len(rest) > 1:
		switch rest[1] {
		case 'x':
			return 4
		case 'u':
			return 6
		case 'U':
			return 10
		}
		return 2
	}
	_, n := utf8.DecodeRune(rest)
	return n
}

// end passes over the closing quote.
func (a *aligner) end() int {
	if a.quote == "" {
		return a.at
	}
	a.skipBlanks()
	return min(a.at+len(a.quote), len(a.text))
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

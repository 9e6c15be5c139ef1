package lang

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	endOfText tokenKind = iota
	word                // interface_type, 10.0.0.0/8, deny
	reference           // $name
	quoted              // "..."
	openBrace
	closeBrace
	openParen
	closeParen
	comma
	colon
	assign
	arrow
	equal // this and the rest compare
	notEqual
	less
	lessEqual
	greater
	greaterEqual
)

// token is one piece of DSL text. Text is the word, the name after `$`, the
// value of a string, or the token as written.
type token struct {
	kind       tokenKind
	start, end int // in the passage
	text       string
}

// passage is DSL text and the place it was read from: a whole .hop file, or the
// value of a YAML scalar.
type passage struct {
	source *Source
	text   string
	base   int    // where text begins in the source
	spots  []spot // of each byte of text, where it is not written as it reads
}

// spot is where one byte of a passage was written, [start, end) in the source.
// Quotes, escapes and indentation make it differ from the byte's own offset.
type spot struct{ start, end int32 }

// span gives the place of the passage's bytes [start, end).
func (p *passage) span(start, end int) Span {
	s := Span{Source: p.source, Start: p.base + start, End: p.base + end}
	if len(p.spots) > 0 {
		last := p.spots[len(p.spots)-1]
		s.Start, s.End = int(last.end), int(last.end)
		if start < len(p.spots) {
			s.Start = int(p.spots[start].start)
		}
		if end > start && end <= len(p.spots) {
			s.End = int(p.spots[end-1].end)
		}
	}
	return s
}

// lexer cuts a passage into tokens, on demand.
type lexer struct {
	passage
	*report
	at       int
	closing  int  // the place of a closing `'` that has been reported with its opening one
	afterID  bool // the last word was `rule` or `assert`: the next ends at its first `:`
	comments []comment
}

func (l *lexer) next() token {
	for {
		l.skipBlanks()
		if l.stopped {
			l.at = len(l.text)
		}
		if l.at == len(l.text) {
			return token{start: l.at, end: l.at}
		}
		switch c := l.text[l.at]; {
		case strings.HasPrefix(l.text[l.at:], "/*"):
			l.blockComment()
			continue
		case isWordByte(c):
			return l.word()
		case c == '$':
			return l.reference()
		case c == '"':
			return l.quoted()
		}
		if t, ok := l.punctuation(); ok {
			return t
		}
		switch c, _ := utf8.DecodeRuneInString(l.text[l.at:]); {
		case isLetter(c):
			return l.word()
		case strings.ContainsRune(curlyQuotes, c):
			return l.curlyQuoted()
		}
		l.stray()
	}
}

func (l *lexer) punctuation() (token, bool) {
	for _, p := range punctuation {
		if p.text[0] != l.text[l.at] || !strings.HasPrefix(l.text[l.at:], p.text) {
			continue
		}
		t := token{kind: p.kind, start: l.at, end: l.at + len(p.text), text: p.text}
		l.at, l.afterID = t.end, false
		if p.instead != "" {
			l.errorf(l.span(t.start, t.end), codeSyntax, "`%s` is not an operator", p.text).Hint = "write `" + p.instead + "`"
			t.text = p.instead
		}
		return t, true
	}
	return token{}, false
}

// punctuation in the order to try it; instead names what a stranger's operator
// is called here, so that the parser can go on.
var punctuation = [...]struct {
	text    string
	kind    tokenKind
	instead string
}{
	{"{", openBrace, ""}, {"}", closeBrace, ""}, {"(", openParen, ""}, {")", closeParen, ""},
	{",", comma, ""}, {":", colon, ""},
	{"=>", arrow, ""}, {"==", equal, ""}, {"=", assign, ""}, {"!=", notEqual, ""},
	{"<=", lessEqual, ""}, {"<", less, ""}, {">=", greaterEqual, ""}, {">", greater, ""},
	{"&&", word, "and"}, {"||", word, "or"}, {"!", word, "not"},
}

// skipBlanks passes over white space and keeps the comments it meets.
func (l *lexer) skipBlanks() {
	for l.at < len(l.text) {
		switch l.text[l.at] {
		case ' ', '\t', '\r', '\n':
			l.at++
		case '#':
			start := l.at
			if n := strings.IndexByte(l.text[start:], '\n'); n >= 0 {
				l.at += n
			} else {
				l.at = len(l.text)
			}
			at := l.span(start, l.at)
			l.comments = append(l.comments, comment{start: at.Start, text: strings.TrimRight(l.text[start+1:l.at], " \t\r")})
			if l.spots != nil && l.source.lineOf(at.Start) != l.source.lineOf(at.End) {
				l.errorf(at, codeSyntax, "the comment takes in the lines below it, which YAML joins to this one").Hint = "write the condition with `|`"
			}
		default:
			return
		}
	}
}

// word reads a maximal run of word characters, less one final colon. An address
// such as `fd00::` keeps its two, and its zone, about which Check has more to say.
func (l *lexer) word() token {
	start := l.at
	for l.at < len(l.text) {
		c := l.text[l.at]
		if (isWordByte(c) || c == '%' && l.at > start) && !(c == ':' && l.afterID) {
			l.at++
			continue
		}
		r, n := utf8.DecodeRuneInString(l.text[l.at:])
		if c < utf8.RuneSelf || !isLetter(r) && !strings.ContainsRune(longDashes, r) {
			break
		}
		l.at += n
	}
	text := l.text[start:l.at]
	if len(text) > 1 && strings.HasSuffix(text, ":") && !strings.HasSuffix(text, "::") {
		l.at--
		text = text[:len(text)-1]
	}
	t := token{kind: word, start: start, end: l.at, text: text}
	if text == "" || text[0] == ':' && !strings.HasPrefix(text, "::") {
		l.at = start + 1
		t.kind, t.end, t.text = colon, l.at, ":"
	}
	l.afterID = text == "rule" || text == "assert"
	return t
}

func (l *lexer) reference() token {
	l.afterID = false
	start := l.at
	l.at++
	if l.at == len(l.text) || !isWordByte(l.text[l.at]) {
		l.errorf(l.span(start, l.at), codeSyntax, "expected a name after `$`")
		return token{kind: reference, start: start, end: l.at}
	}
	t := l.word()
	return token{kind: reference, start: start, end: t.end, text: t.text}
}

func (l *lexer) quoted() token {
	l.afterID = false
	start := l.at
	var value strings.Builder
	for l.at++; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; {
		case c == '"':
			l.at++
			return token{kind: quoted, start: start, end: l.at, text: value.String()}
		case c == '\n':
			l.errorf(l.span(start, l.at), codeString, "the string has no closing `\"`")
			return token{kind: quoted, start: start, end: l.at, text: value.String()}
		case c == '\\' && l.at+1 < len(l.text) && (l.text[l.at+1] == '"' || l.text[l.at+1] == '\\'):
			l.at++
			value.WriteByte(l.text[l.at])
		case c == '\\':
			l.errorf(l.span(l.at, l.at+1), codeString, "unknown escape in a string").Hint = "the escapes are `\\\"` and `\\\\`"
		case c == '\t':
			l.errorf(l.span(l.at, l.at+1), codeString, "a tab in a string")
		case c == '\r':
			// of the line's end, which closes no string
		default:
			value.WriteByte(c)
		}
	}
	l.errorf(l.span(start, l.at), codeString, "the string has no closing `\"`")
	return token{kind: quoted, start: start, end: l.at, text: value.String()}
}

// stray reports characters that begin no token and passes over them.
func (l *lexer) stray() {
	start := l.at
	if l.text[start] == '\'' {
		l.singleQuote()
		return
	}
	for l.at < len(l.text) {
		c, n := utf8.DecodeRuneInString(l.text[l.at:])
		if l.at > start && (c <= ' ' || c < utf8.RuneSelf && (isWordByte(byte(c)) || strings.ContainsRune("$\"#{}(),=!<>&|", c)) || isLetter(c)) {
			break
		}
		l.at += n
	}
	d := l.errorf(l.span(start, l.at), codeSyntax, "unexpected `%s`", shorten(l.text[start:l.at]))
	d.Hint = invisibleHint(l.text[start:l.at])
	if l.text[start] == ';' {
		d.Hint = "statements end by themselves"
	}
}

// blockComment reports `/* ... */` and passes over it.
func (l *lexer) blockComment() {
	start := l.at
	if n := strings.Index(l.text[start:], "*/"); n >= 0 {
		l.at += n + len("*/")
	} else {
		l.at = len(l.text)
	}
	l.errorf(l.span(start, start+len("/*")), codeSyntax, "unexpected `/*`").Hint = "comments begin with `#`"
}

// curlyQuoted reports a string in typographic quotes and reads it, up to its closing
// one or the end of the line.
func (l *lexer) curlyQuoted() token {
	l.afterID = false
	start := l.at
	_, n := utf8.DecodeRuneInString(l.text[start:])
	value := l.text[start+n:]
	if i := strings.IndexByte(value, '\n'); i >= 0 {
		value = value[:i]
	}
	l.at = start + n + len(value)
	if i := strings.IndexAny(value, curlyQuotes); i >= 0 {
		_, closing := utf8.DecodeRuneInString(value[i:])
		l.at = start + n + i + closing
		value = value[:i]
	}
	l.errorf(l.span(start, l.at), codeSyntax, "unexpected `%s`", shorten(l.text[start:l.at])).Hint = "strings stand in `\"`, values without quotes"
	return token{kind: quoted, start: start, end: l.at, text: value}
}

// singleQuote reports `'...'` and passes over the quotes alone, so that what stands
// between them is read.
func (l *lexer) singleQuote() {
	start := l.at
	l.at++
	if start == l.closing && start > 0 {
		return
	}
	end := l.at
	line, _, _ := strings.Cut(l.text[l.at:], "\n")
	if i := strings.IndexByte(line, '\''); i >= 0 {
		l.closing = l.at + i
		end = l.closing + 1
	}
	l.errorf(l.span(start, end), codeSyntax, "unexpected `%s`", shorten(l.text[start:end])).Hint = "strings stand in `\"`, values without quotes"
}

// isWordByte reports whether the ASCII character c may stand in a word.
func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= ':' || c == '_' || c == '.' || c == '/' || c == '-' || c == '[' || c == ']'
}

func isLetter(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }

// shorten cuts a long piece of user text for a message.
func shorten(s string) string {
	const limit = 60
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s[:min(len(s), 4*limit)])[:limit]) + "…"
}

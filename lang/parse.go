package lang

import (
	"bytes"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSize is the largest policy that is read, in bytes.
const maxSize = 32 << 20

// Parse reads a policy file. The name is not opened: it appears in messages, and
// its extension says which syntax src is in.
//
// Errors are Diagnostics, sorted, as many as could be found. A file with errors
// still gives the tree of what was understood, so that its names can be checked;
// only text of which nothing was understood gives nil.
func Parse(name string, src []byte) (*File, error) {
	file := &File{Source: newPolicySource(name, src)}
	var errs report
	switch strings.ToLower(filepath.Ext(name)) {
	case ".hop":
	case ".yaml", ".yml":
		file.Syntax = YAML
	default:
		errs.errorf(Span{Source: file.Source}, codeUnreadable, "a policy's name ends in .hop, .yaml or .yml")
		return nil, errs.found
	}
	if !readable(file.Source, &errs) {
		return nil, errs.found
	}
	if file.Syntax == DSL && !parseDSL(file, &errs) || file.Syntax == YAML && !parseYAML(file, policyLevel, &errs) {
		return nil, errs.found.Sort()
	}
	return file, errs.found.Sort().Err()
}

// ParseTests reads a YAML file of tests and asserts for a policy that stands
// elsewhere, as Parse reads a policy.
func ParseTests(name string, src []byte) (*File, error) {
	file := &File{Source: newPolicySource(name, src), Syntax: YAML}
	var errs report
	if !readable(file.Source, &errs) || !parseYAML(file, testsLevel, &errs) {
		return nil, errs.found.Sort()
	}
	return file, errs.found.Sort().Err()
}

// ParseExpr reads a condition in the DSL's spelling, without `if`. The name
// appears in messages.
func ParseExpr(name string, src []byte) (Expr, error) {
	p, errs := parseFragment(name, src)
	if p == nil {
		return nil, errs.found
	}
	x, ok := p.expr()
	p.finish(ok, "`and`, `or` or the end")
	return x, errs.found.Sort().Err()
}

// ParseClaim reads an assert without its id: always or never, then
// `VERDICT [if EXPR] [unless EXPR]` as src.
func ParseClaim(name string, always bool, src []byte) (*Assert, error) {
	p, errs := parseFragment(name, src)
	if p == nil {
		return nil, errs.found
	}
	a := &Assert{Always: always}
	ok := p.claim(a)
	a.Span = p.since(0)
	p.finish(ok, "`if`, `unless` or the end")
	return a, errs.found.Sort().Err()
}

// ParseGivens reads `FIELD = LITERAL, ...` as in a test.
func ParseGivens(name string, src []byte) ([]Given, error) {
	p, errs := parseFragment(name, src)
	if p == nil {
		return nil, errs.found
	}
	list, ok := p.givens()
	p.finish(ok, "`,` or the end")
	return list, errs.found.Sort().Err()
}

func parseFragment(name string, src []byte) (*parser, *report) {
	source, errs := newPolicySource(name, src), &report{}
	if !readable(source, errs) {
		return nil, errs
	}
	return newParser(passage{source: source, text: string(source.Text)}, errs), errs
}

// finish reports anything after the end of a fragment.
func (p *parser) finish(ok bool, what string) {
	if ok && p.tok.kind != endOfText {
		p.unexpected(what)
	}
}

// newPolicySource leaves out a byte order mark.
func newPolicySource(name string, src []byte) *Source {
	return NewSource(name, bytes.TrimPrefix(src, []byte("\ufeff")))
}

// readable reports text that no parser could make sense of.
func readable(s *Source, errs *report) bool {
	at := func(offset int) Span { return Span{Source: s, Start: offset, End: offset} }
	if len(s.Text) > maxSize {
		errs.errorf(at(0), codeLimit, "the file is larger than the %d MiB that a %s may have", maxSize>>20, errs.file())
	} else if !utf8.Valid(s.Text) {
		errs.errorf(at(invalidUTF8(s.Text)), codeUnreadable, "this is not UTF-8").Hint = "a " + errs.file() + " is text in UTF-8"
	} else if i, c := unreadableRune(s.Text); i >= 0 && c == 0 {
		errs.errorf(at(i), codeUnreadable, "this is not a text file").Hint = "a " + errs.file() + " is text in UTF-8"
	} else if i >= 0 {
		errs.errorf(at(i), codeUnreadable, "the character U+%04X may not stand in a %s", c, errs.file())
	} else if len(bytes.TrimSpace(s.Text)) == 0 {
		errs.errorf(at(0), codeEmptyFile, "the file is empty")
	}
	return len(errs.found) == 0
}

// unreadableRune finds a character that no policy may hold, or returns -1. Some
// readers take a lone carriage return and the separators of Unicode for the end of
// a line, and so of a comment; others turn text around after U+202E and the like, so
// that it reads as what it is not.
func unreadableRune(text []byte) (int, rune) {
	for i, c := range string(text) {
		if isUnreadable(c) && c != '\t' && c != '\n' && (c != '\r' || i+1 == len(text) || text[i+1] != '\n') {
			return i, c
		}
	}
	return -1, 0
}

func isUnreadable(c rune) bool {
	if c < utf8.RuneSelf {
		return c < ' ' || c == 0x7f
	}
	return unicode.IsControl(c) || c == '\u2028' || c == '\u2029' || c == '\ufeff' || c == '\ufffe' || c == '\uffff' ||
		c >= '\u202a' && c <= '\u202e' || c >= '\u2066' && c <= '\u2069'
}

// invalidUTF8 is the offset of the first byte that is not UTF-8.
func invalidUTF8(text []byte) int {
	i := 0
	for i < len(text) {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	return i
}

package lang

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Source is the text of one file.
type Source struct {
	Name  string // as given by the caller; shown in messages
	Text  []byte // UTF-8
	lines []int  // offset of the first byte of each line
}

// NewSource indexes the lines of text.
func NewSource(name string, text []byte) *Source {
	s := &Source{Name: name, Text: text, lines: []int{0}}
	for i, b := range text {
		if b == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// Position gives the line and column of a byte offset, both from 1. Columns
// count Unicode code points.
func (s *Source) Position(offset int) (line, col int) {
	offset = min(max(offset, 0), len(s.Text))
	line = s.lineOf(offset)
	return line, utf8.RuneCount(s.Text[s.lines[line-1]:offset]) + 1
}

// lineOf gives the line of a byte offset, from 1.
func (s *Source) lineOf(offset int) int { return sort.SearchInts(s.lines, offset+1) }

// nextLine gives the offset of the line after that of an offset, or of the end.
func (s *Source) nextLine(offset int) int {
	if line := s.lineOf(offset); line < len(s.lines) {
		return s.lines[line]
	}
	return len(s.Text)
}

// blankBefore reports whether only white space stands before the offset on its
// line.
func (s *Source) blankBefore(offset int) bool {
	return len(bytes.TrimLeft(s.Text[s.lines[s.lineOf(offset)-1]:offset], " \t")) == 0
}

// Line gives the text of a line, counted from 1, without its line ending.
func (s *Source) Line(line int) string {
	if line < 1 || line > len(s.lines) {
		return ""
	}
	end := len(s.Text)
	if line < len(s.lines) {
		end = s.lines[line] - 1
	}
	return strings.TrimSuffix(string(s.Text[s.lines[line-1]:end]), "\r")
}

// Span is a stretch of source text, [Start, End) in bytes. The zero Span is a
// place outside any text, as in a policy made by the Go API.
type Span struct {
	Source     *Source
	Start, End int
}

// At returns the span itself; nodes that embed a Span get it as a method.
func (s Span) At() Span { return s }

// String gives `file:line:col`, or "-" outside any text.
func (s Span) String() string {
	if s.Source == nil {
		return "-"
	}
	line, col := s.Source.Position(s.Start)
	return fmt.Sprintf("%s:%d:%d", s.Source.Name, line, col)
}

// Severity ranks a diagnostic.
type Severity uint8

const (
	Error Severity = iota
	Warning
	Info
)

func (s Severity) String() string { return [...]string{"error", "warning", "info"}[s] }

// Diagnostic is one finding about a policy. Message is lower case, user text in
// backticks, without a final stop.
type Diagnostic struct {
	Span
	Severity Severity
	Code     string // stable, kebab-case; `hopgate explain CODE` has more
	Message  string
	Hint     string // what to write instead; may be empty
	Notes    []Note
}

// Note points at a related place, such as the first of two definitions.
type Note struct {
	Span
	Message string
}

// Error gives `file:line:col: message [code]`.
func (d Diagnostic) Error() string {
	return fmt.Sprintf("%s: %s [%s]", d.Span, d.Message, d.Code)
}

// Diagnostics are findings; as an error, they are what stops a policy.
type Diagnostics []Diagnostic

func (ds Diagnostics) Error() string {
	var b strings.Builder
	for i, d := range ds {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(d.Error())
	}
	return b.String()
}

// Sort orders the findings by file, place and code, and drops repeats.
func (ds Diagnostics) Sort() Diagnostics {
	name := func(d Diagnostic) string {
		if d.Source == nil {
			return ""
		}
		return d.Source.Name
	}
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(name(a), name(b)), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(ds, func(a, b Diagnostic) bool {
		return a.Span == b.Span && a.Code == b.Code && a.Message == b.Message
	})
}

// Err returns the findings as an error if one of them is an Error, else nil.
func (ds Diagnostics) Err() error {
	if slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error }) {
		return ds
	}
	return nil
}

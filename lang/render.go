package lang

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Render writes the findings for a person: each with its source line, a mark
// under the place, its notes and its hint. Color adds ANSI colours.
//
//	corp.hop:3:11: unknown verdict `alow` [unknown-value]
//	    rule smb: alow if remote_port == 445
//	              ^~~~
//	    hint: did you mean `allow`?
func (ds Diagnostics) Render(w io.Writer, color bool) error {
	out := bufio.NewWriter(w)
	paint := func(code, s string) string {
		if !color || s == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[m"
	}
	severities := [...]struct{ color, word string }{
		Error: {"1;31", ""}, Warning: {"1;33", "warning: "}, Info: {"1;36", "note: "},
	}
	for _, d := range ds {
		s := severities[d.Severity]
		fmt.Fprintf(out, "%s: %s%s %s\n", paint("1", printable(d.Span.String())), paint(s.color, s.word), printable(d.Message), paint("2", "["+d.Code+"]"))
		if line, mark := d.excerpt(); line != "" {
			fmt.Fprintf(out, "    %s\n    %s\n", line, paint(s.color, mark))
		}
		for _, n := range d.Notes {
			place := ""
			if n.Source != nil {
				place = n.Span.String() + ": "
			}
			fmt.Fprintf(out, "    %s%s\n", paint("1;36", "note: "), printable(place+n.Message))
		}
		if d.Hint != "" {
			fmt.Fprintf(out, "    %s%s\n", paint("1;32", "hint: "), printable(d.Hint))
		}
	}
	return out.Flush()
}

// The cells of a terminal line that an excerpt takes, and those of them it keeps
// before the place it marks.
const (
	excerptWidth = 100
	excerptLead  = 60
)

// excerpt gives the line a span starts in, without its indentation and cut around
// the span when it is long, and the mark to print under it. Outside any text both
// are empty.
func (s Span) excerpt() (line, mark string) {
	if s.Source == nil || len(s.Source.Text) == 0 {
		return "", ""
	}
	n := s.Source.lineOf(s.Start)
	text := s.Source.Line(n)
	start := min(s.Start-s.Source.lines[n-1], len(text))
	end := min(max(s.End-s.Source.lines[n-1], start), len(text))
	before, marked, after := text[:start], text[start:end], text[end:]

	lead := ""
	if before = strings.TrimLeft(before, " \t"); len(before)+len(marked)+len(after) > excerptWidth {
		if cut := lastCells(before, excerptLead); len(cut) < len(before) {
			lead, before = "…", cut
		}
	}
	head := spread(lead + before)
	rest := max(excerptWidth-cells(head), excerptWidth-excerptLead)
	marked, after = firstCells(marked, rest), firstCells(after, rest-cells(firstCells(marked, rest)))
	tail := ""
	if start+len(marked)+len(after) < len(text) {
		tail = "…"
	}
	body := spread(marked)
	return head + body + spread(after) + tail,
		strings.Repeat(" ", cells(head)) + "^" + strings.Repeat("~", max(0, cells(body)-1))
}

// spread makes text safe and plain for a terminal: tabs become four spaces, and
// control characters cannot act.
func spread(s string) string { return printable(strings.ReplaceAll(s, "\t", "    ")) }

// printable replaces what a terminal would act on or not show.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == ' ' || unicode.IsGraphic(c) {
			return c
		}
		return unicode.ReplacementChar
	}, s)
}

// cells counts the terminal cells that printable text takes.
func cells(s string) int {
	n := 0
	for _, c := range s {
		n += cellsOf(c)
	}
	return n
}

func cellsOf(c rune) int {
	switch {
	case c == '\t':
		return 4
	case unicode.In(c, unicode.Mn, unicode.Me):
		return 0
	}
	switch width.LookupRune(c).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// firstCells is as much of the beginning of s as n cells hold.
func firstCells(s string, n int) string {
	for i, c := range s {
		if n -= cellsOf(c); n < 0 {
			return s[:i]
		}
	}
	return s
}

// lastCells is as much of the end of s as n cells hold.
func lastCells(s string, n int) string {
	for i := len(s); i > 0; {
		c, size := utf8.DecodeLastRuneInString(s[:i])
		if n -= cellsOf(c); n < 0 {
			return s[i:]
		}
		i -= size
	}
	return s
}

// place is a position as JSON has it; without a file it is left out.
type place struct {
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Column    int    `json:"column,omitempty"`
	EndLine   int    `json:"end_line,omitempty"`
	EndColumn int    `json:"end_column,omitempty"`
}

func (s Span) place() place {
	if s.Source == nil {
		return place{}
	}
	p := place{File: s.Source.Name}
	p.Line, p.Column = s.Source.Position(s.Start)
	p.EndLine, p.EndColumn = s.Source.Position(max(s.Start, s.End))
	return p
}

// MarshalJSON gives an object with file, line, column, end_line, end_column
// (from 1, in code points, the end excluded; absent outside any text), severity
// (error, warning, info), code, message, hint and notes: a list of objects with a
// place and a message.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	type note struct {
		place
		Message string `json:"message"`
	}
	var notes []note
	for _, n := range d.Notes {
		notes = append(notes, note{n.place(), n.Message})
	}
	return json.Marshal(struct {
		place
		Severity string `json:"severity"`
		Code     string `json:"code"`
		Message  string `json:"message"`
		Hint     string `json:"hint,omitempty"`
		Notes    []note `json:"notes,omitempty"`
	}{d.place(), d.Severity.String(), d.Code, d.Message, d.Hint, notes})
}

package lang

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"strings"
)

// comment is a `#` in the source and the text after it.
type comment struct {
	start int
	text  string
	atEnd bool // something stands before it on its line
	apart bool // it has a line to itself, and the next is blank
}

// add puts the comment at the end of the node's line, or above the node where
// that place is taken.
func (c *Comments) add(text comment) {
	if text.atEnd && c.After == "" && text.text != "" {
		c.After = text.text
	} else {
		c.Before = text.appendTo(c.Before)
	}
}

func (c comment) appendTo(lines []string) []string {
	lines = append(lines, c.text)
	if c.apart {
		lines = append(lines, "\n")
	}
	return lines
}

// commented is a statement that comments may belong to.
type commented struct {
	Span
	*Comments
	reach  int    // where the line after it begins
	values []Word // of a set; each may have comments of its own
}

// yamlSection is a top-level key of YAML and the offset of the line after it. The
// statements of the list follow.
type yamlSection struct {
	key  string
	next int
}

// attachComments gives each comment to the node it stands by: at the end of a
// line to what ends there, else to what follows. A comment in the midst of a
// statement goes above it, or to a value of a set.
func attachComments(file *File, comments []comment, lists []yamlSection) {
	slices.SortFunc(comments, func(a, b comment) int { return cmp.Compare(a.start, b.start) })
	list := file.commented()
	for _, s := range list {
		if file.apart(s.Source.lineOf(s.Start), lists) {
			s.Before = append(s.Before, "\n")
		}
	}
	for _, c := range comments {
		line := file.Source.lineOf(c.start)
		c.atEnd = !file.Source.blankBefore(c.start)
		c.apart = !c.atEnd && line < len(file.Source.lines) && strings.TrimSpace(file.Source.Line(line+1)) == ""
		next := sort.Search(len(list), func(i int) bool { return list[i].Start > c.start })
		switch {
		case next > 0 && list[next-1].takes(c):
		case next < len(list):
			file.above(list[next], c, lists)
		default:
			file.Trailing = c.appendTo(file.Trailing)
		}
	}
	if n := len(file.Trailing); n > 0 && file.Trailing[n-1] == "\n" {
		file.Trailing = file.Trailing[:n-1]
	}
}

// above gives a comment to the statement that follows, or to the key of its YAML
// list if that stands in between.
func (f *File) above(s commented, c comment, lists []yamlSection) {
	i := sort.Search(len(lists), func(i int) bool { return lists[i].next > s.Start }) - 1
	if i < 0 || lists[i].next <= c.start {
		s.add(c)
		return
	}
	if f.Headings == nil {
		f.Headings = map[string][]string{}
	}
	f.Headings[lists[i].key] = c.appendTo(f.Headings[lists[i].key])
}

// apart reports whether a blank line stands above a line and what belongs to it:
// comments, and the key of a YAML list that begins there.
func (f *File) apart(line int, lists []yamlSection) bool {
	blank := false
	for line--; line > 0; line-- {
		start, next := f.Source.lines[line-1], f.Source.lines[line]
		text := bytes.TrimSpace(f.Source.Text[start:next])
		isKey := slices.ContainsFunc(lists, func(l yamlSection) bool { return l.next == next })
		if len(text) > 0 && text[0] != '#' && !isKey {
			return blank
		}
		blank = len(text) == 0
	}
	return false
}

// takes gives the statement a comment that stands in it or at its end; another
// it refuses.
func (s commented) takes(c comment) bool {
	if c.start >= s.reach {
		return false
	}
	line := s.Source.lineOf(c.start)
	after := sort.Search(len(s.values), func(i int) bool { return s.values[i].Start > c.start })
	inside := c.start < s.End || after > 0 && s.values[after-1].End == s.End && s.Source.lineOf(s.Start) != line
	switch {
	case c.atEnd && inside && after > 0 && s.Source.lineOf(s.values[after-1].End) == line:
		s.values[after-1].add(c)
	case !c.atEnd && after < len(s.values):
		s.values[after].add(c)
	default:
		s.add(c)
	}
	return true
}

// commented lists the statements in the order of the text.
func (f *File) commented() []commented {
	var list []commented
	add := func(at Span, c *Comments, values []Word) {
		if at.Source == f.Source {
			list = append(list, commented{at, c, f.Source.nextLine(at.End), values})
		}
	}
	for _, s := range f.Imports {
		add(s.Span, &s.Comments, nil)
	}
	for _, w := range []*Word{f.Policy, f.Hook, f.Mode, f.OnUnknown} {
		if w != nil {
			add(w.Span, &w.Comments, nil)
		}
	}
	if f.Default != nil {
		add(f.Default.Span, &f.Default.Comments, nil)
	}
	for _, s := range f.Sets {
		add(s.Span, &s.Comments, s.Values)
	}
	for _, s := range f.Interfaces {
		add(s.Span, &s.Comments, nil)
	}
	for _, s := range f.Rules {
		add(s.Span, &s.Comments, nil)
	}
	for _, s := range f.Asserts {
		add(s.Span, &s.Comments, nil)
	}
	for _, s := range f.Tests {
		add(s.Span, &s.Comments, nil)
	}
	slices.SortStableFunc(list, func(a, b commented) int { return cmp.Compare(a.Start, b.Start) })
	return list
}

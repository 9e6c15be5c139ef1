package lang

import (
	"cmp"
	"slices"
	"sort"
)

// comment is a `#` in the source and the text after it.
type comment struct {
	start int
	text  string
}

// add puts the comment at the end of the node's line, or above the node where
// that place is taken or the comment has a line to itself.
func (c *Comments) add(text string, atEnd bool) {
	if atEnd && c.After == "" && text != "" {
		c.After = text
	} else {
		c.Before = append(c.Before, text)
	}
}

// commented is a statement that comments may belong to.
type commented struct {
	Span
	*Comments
	reach  int    // where the line after it begins
	values []Word // of a set; each may have comments of its own
}

// attachComments gives each comment to the node it stands by: at the end of a
// line to what ends there, else to what follows. A comment in the midst of a
// statement goes above it, or to a value of a set.
func attachComments(file *File, comments []comment) {
	if len(comments) == 0 {
		return
	}
	slices.SortFunc(comments, func(a, b comment) int { return cmp.Compare(a.start, b.start) })
	list := file.commented()
	for _, c := range comments {
		next := sort.Search(len(list), func(i int) bool { return list[i].Start > c.start })
		switch {
		case next > 0 && list[next-1].takes(c):
		case next < len(list):
			list[next].add(c.text, false)
		default:
			file.Trailing = append(file.Trailing, c.text)
		}
	}
}

// takes gives the statement a comment that stands in it or at its end; another
// it refuses.
func (s commented) takes(c comment) bool {
	if c.start >= s.reach {
		return false
	}
	line := s.Source.lineOf(c.start)
	after := sort.Search(len(s.values), func(i int) bool { return s.values[i].Start > c.start })
	atEnd := !s.Source.blankBefore(c.start)
	inside := c.start < s.End || after > 0 && s.values[after-1].End == s.End && s.Source.lineOf(s.Start) != line
	switch {
	case atEnd && inside && after > 0 && s.Source.lineOf(s.values[after-1].End) == line:
		s.values[after-1].add(c.text, true)
	case !atEnd && after < len(s.values):
		s.values[after].add(c.text, false)
	default:
		s.add(c.text, atEnd)
	}
	return true
}

// commented lists the statements in the order of the text.
func (f *File) commented() []commented {
	var list []commented
	add := func(at Span, c *Comments, values []Word) {
		if at.Source == f.Source {
			reach := len(f.Source.Text)
			if line := f.Source.lineOf(at.End); line < len(f.Source.lines) {
				reach = f.Source.lines[line]
			}
			list = append(list, commented{at, c, reach, values})
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

package lang

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// Document is a YAML file that is no policy, such as a scenario. It is read as
// policies are: values as they are written, with their places, and the same things
// of YAML's are errors.
type Document struct {
	*document
	Root *yaml.Node
}

// Entry is one `key: value` of a mapping, aliases resolved.
type Entry struct {
	Span
	Key   Word
	Value *yaml.Node
}

// ReadYAML reads a file of a kind, as messages call it: `scenario`. The error is a
// Diagnostics, where nothing can be made of the file.
func ReadYAML(kind, name string, src []byte) (*Document, error) {
	source, errs := newPolicySource(name, src), &report{kind: kind}
	if !readable(source, errs) {
		return nil, errs.found
	}
	d, root := readYAML(source, errs)
	if d == nil {
		return nil, errs.found.Sort()
	}
	return &Document{d, root}, nil
}

// Errorf adds an error and returns it, for a hint or notes to be put in; the pointer
// is good until the next call.
func (d *Document) Errorf(at Span, code, format string, args ...any) *Diagnostic {
	return d.errorf(at, code, format, args...)
}

// Errors is how many errors there are so far.
func (d *Document) Errors() int { return len(d.found) }

// Err returns all errors, sorted, or nil.
func (d *Document) Err() error { return d.found.Sort().Err() }

// Source is the text of the document.
func (d *Document) Source() *Source { return d.source }

// Place is where a value stands.
func (d *Document) Place(n *yaml.Node) Span { return d.spans[n] }

// Entries gives the entries of a mapping; want says what it is.
func (d *Document) Entries(n *yaml.Node, want string) []Entry {
	list := d.entries(n, want)
	entries := make([]Entry, len(list))
	for i, e := range list {
		entries[i] = Entry{e.whole, Word{Span: e.at, Text: e.key}, e.value}
	}
	return entries
}

// Items gives the values of a list.
func (d *Document) Items(n *yaml.Node) []*yaml.Node { return d.items(n) }

// Value gives one value as it is written, `$name` as a reference.
func (d *Document) Value(n *yaml.Node) (Word, bool) {
	w, ok := d.scalar(n, "one value")
	w.Text, w.Ref = strings.CutPrefix(w.Text, "$")
	return w, ok
}

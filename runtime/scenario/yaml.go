package scenario

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/hopgate/hopgate/lang"
)

// reader walks a YAML document and collects what is wrong with it.
type reader struct {
	source *lang.Source
	lines  []int // offset of the first byte of each line
	found  lang.Diagnostics
}

func newReader(source *lang.Source) *reader {
	r := &reader{source: source, lines: []int{0}}
	for i, b := range source.Text {
		if b == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	return r
}

func (r *reader) errorf(at lang.Span, code, format string, args ...any) *lang.Diagnostic {
	r.found = append(r.found, lang.Diagnostic{Span: at, Code: code, Message: fmt.Sprintf(format, args...)})
	return &r.found[len(r.found)-1]
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// bracketed is an IPv6 address in brackets without quotes, which YAML takes for a
// list.
var bracketed = regexp.MustCompile(`[\s,{](\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\](:[0-9]+(/\w+)?)?)`)

// document reads the only document of the file; nil if there is none.
func (r *reader) document() *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(r.source.Text))
	var doc, second yaml.Node
	err := decode(decoder, &doc)
	if err == nil {
		if err = decode(decoder, &second); err == nil {
			r.errorf(r.span(&second), "yaml", "a second YAML document: one file is one scenario")
			return nil
		}
	}
	switch {
	case err == io.EOF && doc.Kind != yaml.DocumentNode:
		r.errorf(r.place(1, 1), "empty-file", "the scenario is empty")
		return nil
	case err != io.EOF:
		line, message := 1, strings.TrimPrefix(err.Error(), "yaml: ")
		if m := yamlLine.FindStringSubmatch(message); m != nil {
			line, _ = strconv.Atoi(m[1])
			message = message[len(m[0]):]
		}
		d := r.errorf(r.place(line, 1), "yaml-syntax", "not YAML: %s", message)
		if m := bracketed.FindSubmatchIndex(r.source.Text); m != nil {
			// The likely cause; the line yaml.v3 gives is often another.
			d.Span = lang.Span{Source: r.source, Start: m[2], End: m[3]}
			d.Hint = fmt.Sprintf("quote an address in brackets: `'%s'`", r.source.Text[m[2]:m[3]])
		}
		return nil
	}
	return doc.Content[0]
}

// decode reads the next document; yaml.v3 panics on a few.
func decode(decoder *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return decoder.Decode(into)
}

// place is the empty span at a line and a column, both from 1.
func (r *reader) place(line, column int) lang.Span {
	line = min(max(line, 1), len(r.lines))
	at := r.lines[line-1]
	for ; column > 1 && at < len(r.source.Text); column-- {
		_, size := utf8.DecodeRune(r.source.Text[at:])
		at += size
	}
	return lang.Span{Source: r.source, Start: at, End: at}
}

func (r *reader) span(n *yaml.Node) lang.Span {
	s := r.place(n.Line, n.Column)
	if n.Kind == yaml.ScalarNode {
		s.End = min(s.Start+len(n.Value), len(r.source.Text))
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			s.Start, s.End = s.Start+1, min(s.End+1, len(r.source.Text))
		}
	}
	return s
}

// plain refuses what YAML can say and a scenario has no use for.
func (r *reader) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.errorf(r.span(n), "yaml", "anchors and aliases have no place in a scenario")
	case n.Style&yaml.TaggedStyle != 0:
		r.errorf(r.span(n), "yaml", "tag `%s`: values are read as they are written", n.Tag)
	default:
		return true
	}
	return false
}

// entry is one key of a mapping.
type entry struct {
	key   lang.Word
	value *yaml.Node
}

// mapping lists the entries of a mapping, in order; what says what it is. Keys
// that are not among the known ones are errors, unless known is nil.
func (r *reader) mapping(n *yaml.Node, what string, known []string) []entry {
	if !r.plain(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.errorf(r.span(n), "wrong-kind", "%s is a mapping: `{key: value, ...}`", what)
		return nil
	}
	var entries []entry
	first := map[string]lang.Span{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, ok := r.scalar(n.Content[i], "a key")
		if !ok {
			continue
		}
		if before, ok := first[key.Text]; ok {
			r.errorf(key.Span, "duplicate-key", "`%s` is given twice", key.Text).Notes = []lang.Note{{Span: before, Message: "first here"}}
			continue
		}
		first[key.Text] = key.Span
		if known != nil && !contains(known, key.Text) {
			d := r.errorf(key.Span, "unknown-key", "%s has no key `%s`", what, key.Text)
			d.Hint = suggest(key.Text, known)
			continue
		}
		entries = append(entries, entry{key, n.Content[i+1]})
	}
	return entries
}

// list gives the items of a sequence.
func (r *reader) list(n *yaml.Node, what string) []*yaml.Node {
	if !r.plain(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.errorf(r.span(n), "wrong-kind", "%s is a list", what)
		return nil
	}
	return n.Content
}

// scalar reads one value from its source text, `$name` as a reference.
func (r *reader) scalar(n *yaml.Node, what string) (lang.Word, bool) {
	if !r.plain(n) {
		return lang.Word{}, false
	}
	if n.Kind != yaml.ScalarNode {
		r.errorf(r.span(n), "wrong-kind", "%s is one value", what)
		return lang.Word{}, false
	}
	if n.Value == "" {
		r.errorf(r.span(n), "null", "%s is empty", what)
		return lang.Word{}, false
	}
	word := lang.Word{Span: r.span(n), Text: n.Value}
	word.Text, word.Ref = strings.CutPrefix(n.Value, "$")
	return word, true
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

func suggest(word string, candidates []string) string {
	if s := lang.Suggest(word, candidates); s != "" {
		return "did you mean `" + s + "`?"
	}
	return "the keys are " + strings.Join(candidates, ", ")
}

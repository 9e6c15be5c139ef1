package lang

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxNodes limits the values of a YAML document, aliases counted as what they
// stand for.
const maxNodes = 1_000_000

// document is a YAML document as yaml.v3 gives it, with what that leaves out: the
// exact place of each node, and the comments.
type document struct {
	*report
	source   *Source
	spans    map[*yaml.Node]Span
	sizes    map[*yaml.Node]size // of what aliases stand for; the zero size while that is being found
	reported map[*yaml.Node]bool // has an error that explains any further one
	comments []comment

	// where the last node was found, to go on from
	line, column, at int
	scanned          int // the text before it has been searched for comments
}

// size is what a node amounts to with its aliases expanded.
type size struct{ nodes, height int }

// readYAML reads the one document of the source. It returns nil after an error
// that leaves nothing to look at.
func readYAML(source *Source, errs *report) (*document, *yaml.Node) {
	d := &document{
		report: errs, source: source, line: 1, column: 1,
		spans: map[*yaml.Node]Span{}, sizes: map[*yaml.Node]size{}, reported: map[*yaml.Node]bool{},
	}
	if tooMany(source.Text) {
		d.errorf(Span{Source: source}, codeLimit, "more than %d values", maxNodes)
		return nil, nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(source.Text))
	var first, second yaml.Node
	switch err := decode(decoder, &first); {
	case errors.Is(err, io.EOF):
		d.errorf(Span{Source: source}, codeEmptyFile, "the file has no %s, only comments", d.file())
		return nil, nil
	case err != nil:
		d.syntaxError(err)
		return nil, nil
	}
	root := first.Content[0]
	d.locate(root)
	d.comments = append(d.comments, d.commentsIn(d.scanned, len(source.Text))...)
	d.check(root, 1)
	if d.stopped {
		return nil, nil
	}
	switch err := decode(decoder, &second); {
	case err == nil:
		at := d.offset(second.Line, second.Column)
		d.errorf(Span{source, at, at + 3}, codeYAML, "a second document").Hint = "a file holds one " + d.file()
	case !errors.Is(err, io.EOF):
		d.syntaxError(err)
	}
	return d, root
}

// decode reads the next document. yaml.v3 reports most of its failures as errors
// and panics on the others.
func decode(decoder *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return decoder.Decode(into)
}

// tooMany estimates whether yaml.v3 would make far more nodes than are allowed,
// at a second a million: each node but the first follows one of these.
func tooMany(text []byte) bool {
	n := 0
	for _, c := range text {
		switch c {
		case ',', '[', '{', ':', '-', '?', '\n':
			n++
		}
	}
	return n > 2*maxNodes
}

// offset gives the place in the text of a line and a column from yaml.v3.
func (d *document) offset(line, column int) int {
	if line != d.line || column < d.column {
		d.line, d.column = line, 1
		d.at = len(d.source.Text)
		if line >= 1 && line <= len(d.source.lines) {
			d.at = d.source.lines[line-1]
		}
	}
	for ; d.column < column && d.at < len(d.source.Text); d.column++ {
		_, n := utf8.DecodeRune(d.source.Text[d.at:])
		d.at += n
	}
	return d.at
}

// locate finds the places of a node and all below it, in the order of the text.
func (d *document) locate(n *yaml.Node) {
	start := d.offset(n.Line, n.Column)
	span := Span{d.source, start, start}
	switch n.Kind {
	case yaml.ScalarNode:
		span.Start = d.skipProperties(start)
		value, end := d.passage(n, span.Start)
		d.comments = append(d.comments, d.commentsIn(d.scanned, value.base)...)
		d.scanned = end
		if n.Value == "" {
			span.End = end
		} else {
			span = value.span(0, len(n.Value))
		}
	case yaml.AliasNode:
		span.End += len("*") + len(n.Value)
	default:
		for _, child := range n.Content {
			d.locate(child)
			span.End = max(span.End, d.spans[child].End)
		}
		if n.Style&yaml.FlowStyle != 0 {
			span.End = d.closing(span.End)
		}
	}
	d.spans[n] = span
}

// closing finds the end of a flow collection whose last value ends at the offset.
func (d *document) closing(at int) int {
	for i := at; i < len(d.source.Text); i++ {
		switch d.source.Text[i] {
		case '[', '{', ' ', '\t', '\r', '\n', ',', '"', '\'':
		case ']', '}':
			return i + 1
		default:
			return at
		}
	}
	return at
}

// skipProperties passes over the anchor and the tag before a value.
func (d *document) skipProperties(at int) int {
	text := d.source.Text
	for at < len(text) && (text[at] == '&' || text[at] == '!') {
		for at < len(text) && !bytes.ContainsRune([]byte(" \t\r\n,[]{}"), rune(text[at])) {
			at++
		}
		for at < len(text) && bytes.ContainsRune([]byte(" \t\r\n"), rune(text[at])) {
			at++
		}
	}
	return at
}

// commentsIn finds the comments in a stretch of text that holds no scalar.
func (d *document) commentsIn(from, to int) []comment {
	var list []comment
	text := d.source.Text
	for i := from; i < to; i++ {
		if text[i] != '#' || i > 0 && !bytes.ContainsRune([]byte(" \t\r\n"), rune(text[i-1])) {
			continue
		}
		line := text[i+1:]
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			line = line[:n]
		}
		list = append(list, comment{start: i, text: string(bytes.TrimRight(line, " \t\r"))})
		i += len(line)
	}
	return list
}

// check reports what no policy may hold, wherever it stands: nulls, tags, merge
// keys, duplicate keys, keys that are no scalars, and too much of anything.
func (d *document) check(n *yaml.Node, depth int) size {
	if depth > maxDepth {
		d.errorf(d.spans[n], codeLimit, "the value nests deeper than %d", maxDepth)
		return size{1, 1}
	}
	if n.Kind == yaml.AliasNode {
		return d.checkAlias(n, depth)
	}
	d.checkTag(n)
	if isNull(n) && !d.reported[n] {
		if n.Value == "" {
			d.errorf(d.spans[n], codeNull, "a value is missing")
		} else {
			d.errorf(d.spans[n], codeNull, "`%s` is no value in YAML", n.Value).Hint = "write `'" + n.Value + "'` for the word"
		}
		d.reported[n] = true
	}
	if n.Kind == yaml.MappingNode {
		d.checkKeys(n)
	}
	total := size{1, 1}
	for _, child := range n.Content {
		s := d.check(child, depth+1)
		total.nodes = min(total.nodes+s.nodes, math.MaxInt32)
		total.height = max(total.height, s.height+1)
	}
	if total.nodes > maxNodes && depth == 1 {
		d.errorf(d.spans[n], codeLimit, "more than %d values, aliases counted as what they stand for", maxNodes)
	}
	return total
}

func (d *document) checkAlias(n *yaml.Node, depth int) size {
	s, known := d.sizes[n.Alias]
	switch {
	case !known:
		d.sizes[n.Alias] = size{}
		s = d.check(n.Alias, depth)
		d.sizes[n.Alias] = s
	case s == size{}:
		d.errorf(d.spans[n], codeLimit, "`*%s` stands for a value that contains it", n.Value)
	case depth+s.height-1 > maxDepth:
		d.errorf(d.spans[n], codeLimit, "the value nests deeper than %d", maxDepth)
	}
	return s
}

func (d *document) checkTag(n *yaml.Node) {
	at := d.offset(n.Line, n.Column)
	text := d.source.Text
	for i := at; i < len(text) && (text[i] == '!' || text[i] == '&'); i = d.skipProperties(i) {
		end := i
		for end < len(text) && text[end] > ' ' {
			end++
		}
		if text[i] == '!' {
			d.errorf(Span{d.source, i, end}, codeYAML, "tags have no meaning in a %s", d.file()).Hint = "leave out `" + shorten(string(text[i:end])) + "`"
			return
		}
	}
}

func (d *document) checkKeys(n *yaml.Node) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		at := d.spans[n.Content[i]]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.errorf(at, codeWrongKind, "a key is one word")
		case isNull(key):
			// reported as a value
		case key.Style == 0 && key.Value == "<<":
			d.errorf(at, codeYAML, "`<<` merges have no meaning in a %s", d.file()).Hint = "write the keys out, or name a value with `&` and repeat it with `*`"
		case isNull(value) && len(key.Value) > 1 && key.Value[len(key.Value)-1] == ':':
			d.errorf(at, codeQuote, "`%s:` must be quoted", shorten(key.Value)).Hint = "write `'" + shorten(key.Value) + ":'`"
			d.reported[value], d.reported[n] = true, true
		case seen[key.Value] != nil:
			d.errorf(at, codeDuplicateKey, "`%s` is given twice", shorten(key.Value)).Notes = []Note{{d.spans[seen[key.Value]], "first given here"}}
			d.reported[n.Content[i]] = true
		default:
			seen[key.Value] = n.Content[i]
		}
	}
}

// isNull reports whether YAML takes the scalar for null.
func isNull(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Style&^yaml.TaggedStyle != 0 {
		return false
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// resolve gives what an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

package lang

import "gopkg.in/yaml.v3"

// entry is one `key: value` of a mapping, aliases resolved.
type entry struct {
	key   string
	at    Span // of the key
	value *yaml.Node
	whole Span // of key and value
}

// entries gives the entries of a mapping, without repeated keys and what else
// check has reported.
func (d *document) entries(n *yaml.Node, want string) []entry {
	if n.Kind != yaml.MappingNode {
		d.wrongKind(n, want)
		return nil
	}
	if d.reported[n] {
		return nil
	}
	var list []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		merge := key.Style == 0 && key.Value == "<<"
		if key.Kind != yaml.ScalarNode || isNull(key) || merge || d.reported[n.Content[i]] {
			continue
		}
		at := d.spans[n.Content[i]]
		whole := at
		whole.End = max(whole.End, d.spans[n.Content[i+1]].End)
		list = append(list, entry{key.Value, at, value, whole})
	}
	return list
}

// items gives the values of a list, aliases resolved.
func (d *document) items(n *yaml.Node) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		d.wrongKind(n, "a list")
		return nil
	}
	list := make([]*yaml.Node, len(n.Content))
	for i, n := range n.Content {
		list[i] = resolve(n)
	}
	return list
}

// wrongKind reports a value of the wrong shape.
func (d *document) wrongKind(n *yaml.Node, want string) {
	if d.reported[n] {
		return
	}
	at := d.spans[n]
	found := "a mapping"
	switch n.Kind {
	case yaml.SequenceNode:
		found = "a list"
	case yaml.ScalarNode:
		found = "`" + shorten(n.Value) + "`"
	}
	finding := d.errorf(at, codeWrongKind, "expected %s, found %s", want, found)
	if v6 := unquotedV6(string(d.source.Text[at.Start:at.End])); v6 != "" && n.Kind != yaml.ScalarNode {
		finding.Hint = "write `'" + v6 + "'`"
	} else if want == "a list" && n.Kind == yaml.ScalarNode {
		finding.Hint = "write `[" + shorten(n.Value) + "]`"
	}
}

// scalar gives a value as written, whatever type YAML would give it.
func (d *document) scalar(n *yaml.Node, want string) (Word, bool) {
	if n.Kind != yaml.ScalarNode {
		d.wrongKind(n, want)
		return Word{}, false
	}
	return Word{Span: d.spans[n], Text: n.Value}, !d.reported[n]
}

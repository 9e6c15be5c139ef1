package lang

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// treeReader makes the tree of a YAML document.
type treeReader struct {
	*document
	file  *File
	meant map[*yaml.Node][]string // keys that a mapping has under another name
}

// parseYAML reads a whole YAML policy and reports whether there was anything to
// make a tree of.
func parseYAML(file *File, top level, errs *report) bool {
	d, root := readYAML(file.Source, errs)
	if d == nil {
		return false
	}
	t := treeReader{document: d, file: file, meant: map[*yaml.Node][]string{}}
	var lists []yamlSection
	if root.Kind != yaml.MappingNode {
		t.wrongKind(root, top.name+" with the keys "+andList(top.names()))
		return false
	}
	for _, e := range t.mapping(root, top) {
		t.section(e)
		if e.value.Kind != yaml.ScalarNode {
			lists = append(lists, yamlSection{e.key, file.Source.nextLine(e.at.Start)})
		}
	}
	attachComments(file, d.comments, lists)
	return true
}

// section reads one top-level key.
func (t *treeReader) section(e entry) {
	switch e.key {
	case "version":
		t.version(e)
	case "policy":
		if w, ok := t.scalarOf(e); ok {
			checkID(t.report, w)
			t.file.Policy = &w
		}
	case "hook":
		t.file.Hook = t.setting(e, hooks[:])
	case "mode":
		t.file.Mode = t.setting(e, modes[:])
	case "on_unknown":
		t.file.OnUnknown = t.setting(e, onUnknowns[:])
	case "default":
		if v, ok := t.verdict(e); ok {
			t.file.Default = &v
		}
	case "import":
		t.imports(e)
	case "sets":
		for _, s := range t.entries(e.value, "a mapping of names to lists") {
			t.set(s)
		}
	case "interfaces":
		for _, i := range t.entries(e.value, "a mapping of names to interfaces") {
			t.namedInterface(i)
		}
	case "rules":
		for _, n := range t.items(e.value) {
			t.rule(n)
		}
	case "asserts":
		for _, n := range t.items(e.value) {
			t.assert(n)
		}
	case "tests":
		for _, n := range t.items(e.value) {
			t.test(n)
		}
	}
}

func (t *treeReader) version(e entry) {
	if w, ok := t.scalarOf(e); ok && w.Text != "1" {
		t.errorf(w.Span, codeUnknownValue, "unknown version `%s` of the language", shorten(w.Text)).Hint = "write `version: 1`"
	}
}

func (t *treeReader) setting(e entry, values []string) *Word {
	w, ok := t.scalarOf(e)
	if !ok || !t.knownValue(w, e.key, values) {
		return nil
	}
	return &w
}

func (t *treeReader) verdict(e entry) (VerdictWord, bool) {
	w, ok := t.scalarOf(e)
	v := VerdictWord{Span: w.Span}
	if !ok {
		return v, false
	}
	switch w.Text {
	case "deny":
	case "allow":
		v.Verdict = Allow
	case "allow-hard":
		v.Verdict = AllowHard
	default:
		d := t.errorf(w.Span, codeUnknownValue, "unknown verdict `%s`", shorten(w.Text))
		if d.Hint = didYouMean(w.Text, verdictNames[:], "a verdict is "); w.Text == "allow hard" {
			d.Hint = "write `allow-hard`"
		}
	}
	return v, true
}

func (t *treeReader) imports(e entry) {
	paths := []*yaml.Node{e.value}
	if e.value.Kind == yaml.SequenceNode {
		paths = t.items(e.value)
	}
	for _, n := range paths {
		if path, ok := t.scalar(n, "a file to import"); ok {
			t.checkText(path)
			t.file.Imports = append(t.file.Imports, &Import{Span: t.spans[n], Path: path})
		}
	}
}

func (t *treeReader) set(e entry) {
	s := &Set{Span: e.whole, Name: t.name(e)}
	t.file.Sets = append(t.file.Sets, s)
	values := e
	if e.value.Kind == yaml.MappingNode {
		values.value = nil
		for _, e := range t.mapping(e.value, setLevel) {
			switch e.key {
			case "dynamic":
				s.Dynamic = t.flag(e)
			case "values":
				values = e
			case "file":
				if w, ok := t.scalarOf(e); ok {
					t.checkText(w)
					s.File = &w
				}
			}
		}
		switch {
		case values.value != nil && s.File != nil:
			t.errorf(e.at, codeConflict, "set `%s` has both `values` and `file`", shorten(e.key))
			return
		case values.value == nil && s.File == nil:
			t.missing(e.value, e.at, "set `"+shorten(e.key)+"` has neither `values` nor `file`")
			return
		case values.value == nil:
			return
		}
	}
	for _, n := range t.items(values.value) {
		if w, ok := t.literal(n); ok {
			s.Values = append(s.Values, w)
		}
	}
	if isEmptyList(values.value) && !s.Dynamic {
		t.errorf(t.spans[values.value], codeEmpty, "set `%s` is empty", shorten(e.key))
	}
}

func (t *treeReader) namedInterface(e entry) {
	i := &Interface{Span: e.whole, Name: t.name(e)}
	t.file.Interfaces = append(t.file.Interfaces, i)
	list := t.mapping(e.value, interfaceLevel)
	if len(list) > 1 {
		t.errorf(list[1].at, codeConflict, "interface `%s` is named in two ways", shorten(e.key)).Notes = []Note{{list[0].at, "first named here"}}
	}
	if len(list) == 0 {
		if len(e.value.Content) == 0 {
			t.missing(e.value, e.at, "interface `"+shorten(e.key)+"` needs "+orList(interfaceKinds[:]))
		}
		return
	}
	i.Kind = Word{Span: list[0].at, Text: list[0].key}
	if w, ok := t.scalarOf(list[0]); ok {
		t.checkText(w)
		i.Value = w
	}
}

func (t *treeReader) rule(n *yaml.Node) {
	r := &Rule{Span: t.spans[n]}
	list := t.mapping(n, ruleLevel)
	for _, e := range list {
		switch e.key {
		case "id":
			if w, ok := t.scalarOf(e); ok {
				checkID(t.report, w)
				checkRuleID(t.report, w)
				r.ID = w
			}
		case "action":
			r.Action, _ = t.verdict(e)
		case "log":
			r.Log = t.flag(e)
		case "audit":
			r.Audit = t.flag(e)
		}
	}
	r.Cond = t.cond(list)
	t.require(n, list, "a rule", "id", "action")
	if r.ID.Text != "" {
		t.file.Rules = append(t.file.Rules, r)
	}
}

func (t *treeReader) assert(n *yaml.Node) {
	a := &Assert{Span: t.spans[n]}
	list := t.mapping(n, assertLevel)
	var claims []entry
	for _, e := range list {
		switch e.key {
		case "id":
			if w, ok := t.scalarOf(e); ok {
				checkID(t.report, w)
				a.ID = w
			}
		case "never", "always":
			a.Always = e.key == "always"
			a.Verdict, _ = t.verdict(e)
			claims = append(claims, e)
		}
	}
	a.Cond = t.cond(list)
	t.require(n, list, "an assert", "id")
	switch {
	case len(claims) == 2:
		t.errorf(claims[1].at, codeConflict, "an assert has one of `never` and `always`").Notes = []Note{{claims[0].at, "the other is here"}}
	case len(claims) == 0 && len(list) > 0:
		t.missing(n, t.spans[n], "an assert needs `never` or `always`")
	}
	if a.ID.Text != "" {
		t.file.Asserts = append(t.file.Asserts, a)
	}
}

func (t *treeReader) test(n *yaml.Node) {
	s := &Test{Span: t.spans[n]}
	list := t.mapping(n, testLevel)
	for _, e := range list {
		switch e.key {
		case "given":
			for _, g := range t.entries(e.value, "a mapping of fields to values") {
				if w, ok := t.literal(g.value); ok {
					s.Given = append(s.Given, Given{Span: g.whole, Field: t.field(g), Value: w})
				}
			}
		case "expect":
			s.Expect, _ = t.verdict(e)
		case "by":
			if w, ok := t.scalarOf(e); ok {
				checkID(t.report, w)
				s.By = &w
			}
		}
	}
	t.require(n, list, "a test", "expect")
	t.file.Tests = append(t.file.Tests, s)
}

// mapping gives the entries of a mapping that has the level's keys.
func (t *treeReader) mapping(n *yaml.Node, l level) []entry {
	list := t.entries(n, l.name+" with the keys "+andList(l.names()))
	return slices.DeleteFunc(list, func(e entry) bool {
		if l.has(e.key) {
			return false
		}
		t.unknownKey(e, l)
		if better := meantKey(e.key); l.has(better) {
			t.meant[n] = append(t.meant[n], better)
		}
		return true
	})
}

// meantKey is the key that another language calls by this name, or "".
func meantKey(name string) string {
	switch name {
	case "not":
		return "unless"
	case "name":
		return "id"
	case "verdict":
		return "action"
	case "when", "where":
		return "if"
	}
	return ""
}

func (t *treeReader) unknownKey(e entry, l level) {
	d := t.errorf(e.at, codeUnknownKey, "%s has no key `%s`", l.name, shorten(e.key))
	if s := Suggest(e.key, l.names()); s != "" {
		d.Hint = "did you mean `" + s + "`?"
		return
	}
	if better := meantKey(e.key); l.has(better) {
		d.Hint = "write `" + better + "`"
		return
	}
	if l.has("match") && isField(e.key) {
		d.Hint = "a condition on a field belongs under `match`"
		return
	}
	for _, other := range levels {
		if other.has(e.key) {
			d.Hint = "`" + e.key + "` is a key of " + other.name
			return
		}
	}
	d.Hint = l.name + " has " + andList(l.names())
}

func isEmptyList(n *yaml.Node) bool { return n.Kind == yaml.SequenceNode && len(n.Content) == 0 }

func (t *treeReader) scalarOf(e entry) (Word, bool) { return t.scalar(e.value, "one value") }

// literal gives a value that a field is compared with.
func (t *treeReader) literal(n *yaml.Node) (Word, bool) {
	w, ok := t.scalar(n, "one value")
	if !ok {
		return w, false
	}
	w.Text, w.Ref = strings.CutPrefix(w.Text, "$")
	if !isWord(w.Text) {
		d := t.errorf(w.Span, codeSyntax, "`%s` is not a value", shorten(n.Value))
		d.Hint = valueHint(w.Text)
		return w, false
	}
	return w, true
}

// valueHint says what to write instead of a text that is no value.
func valueHint(text string) string {
	fields := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' || c == '\n' })
	whole := !slices.ContainsFunc(fields, func(f string) bool { return !isWord(f) })
	switch {
	case plainHint(text) != "":
		return plainHint(text)
	case len(fields) == 1 && whole:
		return "write `" + shorten(fields[0]) + "`"
	case len(fields) > 1 && whole:
		return "write a list: `[" + shorten(strings.Join(fields, ", ")) + "]`"
	case text == "*":
		return "leave the field out: without it every value matches"
	case strings.HasPrefix(text, "!"):
		return "what may not be goes under `unless`"
	case strings.HasPrefix(text, "<"), strings.HasPrefix(text, ">"):
		return "write a range, or `if: \"FIELD " + shorten(text) + "\"`"
	}
	return "a value is letters, digits and `_ . : / - [ ]`"
}

// name gives the key of a set or an interface.
func (t *treeReader) name(e entry) Word {
	w := Word{Span: e.at, Text: e.key}
	checkID(t.report, w)
	return w
}

// field gives the key of a condition. Which fields there are is not asked here.
func (t *treeReader) field(e entry) Word {
	if !isWord(e.key) {
		t.errorf(e.at, codeSyntax, "`%s` is not a field", shorten(e.key))
	}
	return Word{Span: e.at, Text: e.key}
}

// checkText reports a string that the DSL cannot write.
func (t *treeReader) checkText(w Word) {
	if i := strings.IndexFunc(w.Text, isUnreadable); i >= 0 {
		t.errorf(w.Span, codeString, "control character in a string")
	}
}

func (t *treeReader) flag(e entry) bool {
	w, ok := t.scalarOf(e)
	if ok && w.Text != "true" && w.Text != "false" {
		t.knownValue(w, e.key, []string{"true", "false"})
	}
	return w.Text == "true"
}

// require reports the keys that a mapping lacks.
func (t *treeReader) require(n *yaml.Node, list []entry, what string, keys ...string) {
	for _, key := range keys {
		if len(list) > 0 && !slices.ContainsFunc(list, func(e entry) bool { return e.key == key }) && !slices.Contains(t.meant[n], key) {
			t.missing(n, list[0].at, what+" needs `"+key+"`")
		}
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		t.errorf(t.spans[n], codeEmpty, "%s is empty", what)
	}
}

// missing reports what a value lacks, unless the value is wrong altogether.
func (t *treeReader) missing(n *yaml.Node, at Span, message string) {
	if !t.reported[n] && n.Kind == yaml.MappingNode {
		t.errorf(at, codeMissingKey, "%s", message)
	}
}

package lang

import "gopkg.in/yaml.v3"

// cond reads the conditions among a rule's or an assert's keys: match, any_of and
// if must all hold, unless must not.
func (t *treeReader) cond(list []entry) (c Cond) {
	var terms []Expr
	var at Span
	for _, e := range list {
		var x Expr
		switch e.key {
		case "match":
			x = t.block(e, e.value)
		case "any_of":
			x = t.anyOf(e)
		case "if":
			x = t.expression(e)
		case "unless":
			c.Unless = t.anyOf(e)
		}
		if x == nil {
			continue
		}
		if terms = append(terms, x); len(terms) == 1 {
			at = x.At()
		}
		at.End = max(at.End, x.At().End)
	}
	switch len(terms) {
	case 0:
	case 1:
		c.If = terms[0]
	default:
		c.If = joinAnd(at, terms)
	}
	return c
}

// anyOf reads a list of match blocks, one of which must hold, or one block.
func (t *treeReader) anyOf(e entry) Expr {
	if e.value.Kind != yaml.SequenceNode {
		return t.block(e, e.value)
	}
	if isEmptyList(e.value) {
		t.errorf(t.spans[e.value], codeEmpty, "`%s` is empty", e.key)
	}
	var terms []Expr
	for _, n := range t.items(e.value) {
		if x := t.block(e, n); x != nil {
			terms = append(terms, x)
		}
	}
	switch len(terms) {
	case 0:
		return nil
	case 1:
		return terms[0]
	}
	or := joinOr(t.spans[e.value], terms)
	or.AnyOf = true
	return or
}

// block reads a match block: every field must have its value or one of a list.
func (t *treeReader) block(in entry, n *yaml.Node) Expr {
	var terms []Expr
	for _, e := range t.entries(n, "a mapping of fields to values") {
		if ruleLevel.has(e.key) {
			t.errorf(e.at, codeUnknownKey, "the keys of a match block are fields, not `%s`", e.key).Hint = "`" + e.key + "` stands beside `" + in.key + "`, not in it"
			continue
		}
		c := &Compare{Span: e.whole, Field: t.field(e)}
		if e.value.Kind == yaml.SequenceNode {
			c.Op, c.Block = In, true
			if isEmptyList(e.value) {
				t.errorf(t.spans[e.value], codeEmpty, "the list is empty")
			}
		}
		values := []*yaml.Node{e.value}
		if c.Block {
			values = t.items(e.value)
		}
		for _, v := range values {
			if w, ok := t.literal(v); ok {
				c.Values = append(c.Values, w)
			}
		}
		if len(c.Values) > 0 {
			terms = append(terms, c)
		}
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		t.errorf(t.spans[n], codeEmpty, "`%s` is empty", in.key)
	}
	switch len(terms) {
	case 0:
		return nil
	case 1:
		return terms[0]
	}
	return joinAnd(t.spans[n], terms)
}

// expression reads the DSL text of an `if`.
func (t *treeReader) expression(e entry) Expr {
	if _, ok := t.scalar(e.value, "a condition as text"); !ok {
		return nil
	}
	at := t.offset(e.value.Line, e.value.Column)
	text, _ := t.passage(e.value, t.skipProperties(at))
	p := newParser(text, t.report)
	x, ok := p.expr()
	if ok && p.at("unless") {
		p.unexpected("`and`, `or` or the end").Hint = "`unless` is a key of its own"
	} else {
		p.finish(ok, "`and`, `or` or the end")
	}
	t.comments = append(t.comments, p.lex.comments...)
	if !ok {
		return nil
	}
	return x
}

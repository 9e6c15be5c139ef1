package lang

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

func (p *printer) yamlFile(f *File) {
	imports := f.Imports
	if f.Syntax == DSL && len(imports) > 0 { // what heads the file stays at its head
		p.above(0, imports[0].Comments)
		first := *imports[0]
		first.Before = nil
		imports = append([]*Import{&first}, imports[1:]...)
	}
	if f.Policy != nil {
		p.above(0, f.Policy.Comments)
	}
	p.line(0, "version: 1")
	if f.Policy != nil {
		p.line(0, "policy: ", yamlScalar(f.Policy.Text), after(f.Policy.Comments))
	}
	var verdict *Word
	if f.Default != nil {
		verdict = &Word{Comments: f.Default.Comments, Text: f.Default.Verdict.String()}
	}
	for _, s := range []struct {
		key   string
		value *Word
	}{{"hook", f.Hook}, {"default", verdict}, {"mode", f.Mode}, {"on_unknown", f.OnUnknown}} {
		if s.value != nil {
			p.apart(s.value.Comments)
			p.above(0, s.value.Comments)
			p.line(0, s.key, ": ", s.value.Text, after(s.value.Comments))
		}
	}
	section(p, f, "import", imports, func(i *Import) Comments { return i.Comments }, func(i *Import) {
		p.line(2, "- ", yamlScalar(i.Path.Text), after(i.Comments))
	})
	section(p, f, "sets", f.Sets, func(s *Set) Comments { return s.Comments }, p.yamlSet)
	section(p, f, "interfaces", f.Interfaces, func(i *Interface) Comments { return i.Comments }, func(i *Interface) {
		p.line(2, yamlScalar(i.Name.Text), ": {", i.Kind.Text, ": ", yamlScalar(i.Value.Text), "}", after(i.Comments))
	})
	section(p, f, "rules", f.Rules, func(r *Rule) Comments { return r.Comments }, func(r *Rule) {
		p.line(2, "- id: ", yamlScalar(r.ID.Text), after(r.Comments))
		p.line(4, "action: ", r.Action.Verdict.String())
		if r.Log {
			p.line(4, "log: true")
		}
		if r.Audit {
			p.line(4, "audit: true")
		}
		p.yamlCond(r.Cond)
	})
	section(p, f, "asserts", f.Asserts, func(a *Assert) Comments { return a.Comments }, func(a *Assert) {
		p.line(2, "- id: ", yamlScalar(a.ID.Text), after(a.Comments))
		key := "never: "
		if a.Always {
			key = "always: "
		}
		p.line(4, key, a.Verdict.Verdict.String())
		p.yamlCond(a.Cond)
	})
	section(p, f, "tests", f.Tests, func(t *Test) Comments { return t.Comments }, p.yamlTest)
	p.comments(0, f.Trailing)
}

// section writes a key and the list below it. What sets its first item apart
// stands above the key.
func section[T any](p *printer, f *File, key string, list []T, comments func(T) Comments, write func(T)) {
	for i, x := range list {
		p.apart(comments(x))
		if i == 0 {
			p.comments(0, f.Headings[key])
			p.line(0, key, ":")
		}
		p.above(2, comments(x))
		write(x)
	}
}

// apart leaves a line blank where the author did.
func (p *printer) apart(c Comments) {
	if c.apart() {
		p.line(0)
	}
}

func (p *printer) yamlSet(s *Set) {
	name := yamlScalar(s.Name.Text) + ":"
	dynamic := ""
	if s.Dynamic {
		dynamic = "dynamic: true, "
	}
	if s.File != nil {
		p.line(2, name, " {", dynamic, "file: ", yamlScalar(s.File.Text), "}", after(s.Comments))
		return
	}
	one := name + " " + yamlList(s.Values)
	if s.Dynamic {
		one = name + " {" + dynamic + "values: " + yamlList(s.Values) + "}"
	}
	if fits(2, one) && !anyComments(s.Values) {
		p.line(2, one, after(s.Comments))
		return
	}
	p.line(2, name, after(s.Comments))
	indent := 4
	if s.Dynamic {
		p.line(4, "dynamic: true")
		p.line(4, "values:")
		indent = 6
	}
	for _, v := range s.Values {
		p.comments(indent, v.Before)
		p.line(indent, "- ", yamlScalar(v.String()), after(v.Comments))
	}
}

func (p *printer) yamlTest(t *Test) {
	var lines, pairs []string
	for _, g := range t.Given {
		pairs = append(pairs, yamlScalar(g.Field.Text)+": "+yamlScalar(g.Value.String()))
	}
	if one := "given: {" + strings.Join(pairs, ", ") + "}"; len(pairs) > 0 && fits(4, one) {
		lines = append(lines, one)
	} else if len(pairs) > 0 {
		lines = append(lines, "given:")
		for _, pair := range pairs {
			lines = append(lines, "  "+pair)
		}
	}
	lines = append(lines, "expect: "+t.Expect.Verdict.String())
	if t.By != nil {
		lines = append(lines, "by: "+yamlScalar(t.By.Text))
	}
	p.line(2, "- ", lines[0], after(t.Comments))
	for _, l := range lines[1:] {
		p.line(4, l)
	}
}

// yamlCond writes a condition under the keys match, any_of, unless and if.
func (p *printer) yamlCond(c Cond) {
	y := splitCond(c)
	if len(y.match) > 0 {
		p.yamlBlock(4, "match:", y.match)
	}
	p.yamlBlocks("any_of:", y.anyOf)
	p.yamlBlocks("unless:", y.unless)
	if y.rest == nil {
		return
	}
	text := y.rest.String()
	if fits(4, `if: "`+text+`"`) {
		p.line(4, `if: "`, text, `"`)
		return
	}
	p.line(4, "if: >-")
	for _, line := range breakExpr(y.rest, lineWidth-6) {
		p.line(6, line)
	}
}

// yamlCond is a condition as YAML's keys have it.
type yamlCond struct {
	match         []*Compare
	anyOf, unless [][]*Compare
	rest          Expr // for `if`
}

// splitCond puts positive tests on distinct fields into match, negated ones into
// unless, alternatives that were an any_of into that again, and the rest into if.
func splitCond(c Cond) yamlCond {
	var y yamlCond
	var rest []Expr
	for _, x := range conjuncts(c.If) {
		if positive, ok := x.(*Compare); ok && isPositive(positive) && !tests(y.match, positive.Field.Text) {
			y.match = append(y.match, positive)
		} else if negated := negation(x); negated != nil {
			y.unless = append(y.unless, []*Compare{negated})
		} else if or, ok := x.(*Or); ok && or.AnyOf && y.anyOf == nil {
			if y.anyOf, ok = alternatives(or); !ok {
				rest = append(rest, x)
			}
		} else {
			rest = append(rest, x)
		}
	}
	if c.Unless != nil {
		if blocks, ok := alternatives(c.Unless); ok {
			y.unless = append(y.unless, blocks...)
		} else {
			rest = append(rest, &Not{Span: c.Unless.At(), X: c.Unless})
		}
	}
	switch len(rest) {
	case 0:
	case 1:
		y.rest = rest[0]
	default:
		y.rest = joinAnd(rest[0].At(), rest)
	}
	return y
}

func conjuncts(x Expr) []Expr {
	switch x := x.(type) {
	case nil:
		return nil
	case *And:
		return x.Terms
	}
	return []Expr{x}
}

func isPositive(c *Compare) bool { return c.Op == Equal || c.Op == In }

func tests(list []*Compare, field string) bool {
	return slices.ContainsFunc(list, func(c *Compare) bool { return c.Field.Text == field })
}

// negation gives the positive test that x is the negation of, or nil.
func negation(x Expr) *Compare {
	switch x := x.(type) {
	case *Not:
		if c, ok := x.X.(*Compare); ok && isPositive(c) {
			return c
		}
	case *Compare:
		positive := *x
		switch x.Op {
		case NotEqual:
			positive.Op = Equal
			return &positive
		case NotIn:
			positive.Op = In
			return &positive
		}
	}
	return nil
}

// alternatives gives the match blocks whose OR an expression is, if it is one.
func alternatives(x Expr) ([][]*Compare, bool) {
	terms := []Expr{x}
	if or, ok := x.(*Or); ok {
		terms = or.Terms
	}
	var blocks [][]*Compare
	for _, t := range terms {
		var block []*Compare
		for _, x := range conjuncts(t) {
			c, ok := x.(*Compare)
			if !ok || !isPositive(c) || tests(block, c.Field.Text) {
				return nil, false
			}
			block = append(block, c)
		}
		blocks = append(blocks, block)
	}
	return blocks, true
}

func (p *printer) yamlBlocks(key string, blocks [][]*Compare) {
	switch len(blocks) {
	case 0:
	case 1:
		p.yamlBlock(4, key, blocks[0])
	default:
		p.line(4, key)
		for _, b := range blocks {
			p.yamlBlock(6, "-", b)
		}
	}
}

// yamlBlock writes a match block after a key or a dash.
func (p *printer) yamlBlock(indent int, key string, block []*Compare) {
	pairs := make([]string, len(block))
	for i, c := range block {
		value := yamlScalar(c.Values[0].String())
		if c.Block {
			value = yamlList(c.Values)
		}
		pairs[i] = yamlScalar(c.Field.Text) + ": " + value
	}
	if one := key + " {" + strings.Join(pairs, ", ") + "}"; fits(indent, one) {
		p.line(indent, one)
		return
	}
	if key != "-" {
		p.line(indent, key)
		key = " "
	}
	for i, c := range block {
		p.yamlPair(indent, key, c, pairs[i])
		key = " "
	}
}

// yamlPair writes one field of a block, a long list with a line for each value.
func (p *printer) yamlPair(indent int, lead string, c *Compare, pair string) {
	if !c.Block || fits(indent+2, pair) {
		p.line(indent, lead, " ", pair)
		return
	}
	p.line(indent, lead, " ", yamlScalar(c.Field.Text), ":")
	for _, v := range c.Values {
		p.line(indent+4, "- ", yamlScalar(v.String()))
	}
}

func yamlList(words []Word) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = yamlScalar(w.String())
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// yamlScalar writes text so that every YAML reader takes it for that text, or for
// that number.
func yamlScalar(s string) string {
	if isPlain(s) {
		return s
	}
	if strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0 {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, `\U%08X`, c)
		}
	}
	return `"` + b.String() + `"`
}

// isPlain reports whether text needs no quotes.
func isPlain(s string) bool {
	safe := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_./-$ ", c)
	}
	if s == "" || strings.Trim(s, " ") != s || s[0] == '-' || strings.ContainsFunc(s, func(c rune) bool { return !safe(c) }) {
		return false
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off": // booleans of YAML 1.1
		return false
	}
	tag := (&yaml.Node{Kind: yaml.ScalarNode, Value: s}).ShortTag()
	return tag == "!!str" || tag == "!!int" && (s == "0" || s[0] != '0') && !strings.ContainsRune(s, '_')
}

package lang

import (
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// lineWidth is how long a formatted line may get before it is broken up.
const lineWidth = 120

// Format writes a file in the canonical form of a syntax, its own or the other:
// settings, then sets, interfaces, rules, asserts and tests, each in their order.
// The meaning stays, and so do the comments. Formatting the result again changes
// nothing. The file must have been parsed without an error.
func Format(f *File, to Syntax) []byte {
	var p printer
	if to == YAML {
		p.yamlFile(f)
	} else {
		p.dslFile(f)
	}
	return []byte(p.out.String())
}

type printer struct {
	out  strings.Builder
	yaml bool // the file comes from YAML
	sets map[string]bool
}

// line writes lines, each after the indentation.
func (p *printer) line(indent int, parts ...string) {
	p.out.WriteString(strings.Repeat(" ", indent))
	for _, s := range parts {
		p.out.WriteString(s)
	}
	p.out.WriteByte('\n')
}

// apart reports whether the author left a blank line above a node.
func (c Comments) apart() bool { return len(c.Before) > 0 && c.Before[0] == "\n" }

// above writes the comments that stand above a node.
func (p *printer) above(indent int, c Comments) {
	if c.apart() {
		c.Before = c.Before[1:]
	}
	p.comments(indent, c.Before)
}

func (p *printer) comments(indent int, lines []string) {
	for _, s := range lines {
		if s == "\n" {
			p.line(0)
		} else {
			p.line(indent, "#", s)
		}
	}
}

// after gives the comment at the end of a node's line.
func after(c Comments) string {
	if c.After == "" {
		return ""
	}
	return " #" + c.After
}

// fits reports whether text at an indentation stays within a line.
func fits(indent int, text string) bool {
	return indent+utf8.RuneCountInString(text) <= lineWidth && !strings.Contains(text, "\n")
}

func (p *printer) dslFile(f *File) {
	p.yaml = f.Syntax == YAML
	p.sets = map[string]bool{}
	for _, s := range f.Sets {
		p.sets[s.Name.Text] = true
	}
	header := Word{Text: policyName(f)}
	if f.Policy != nil {
		header = *f.Policy
	}
	if p.yaml {
		p.above(0, header.Comments)
		header.Before = nil
	}
	p.comments(0, f.Headings["import"])
	for _, i := range f.Imports {
		p.above(0, i.Comments)
		p.line(0, "import ", dslString(i.Path.Text), after(i.Comments))
	}
	if len(f.Imports) > 0 {
		p.line(0)
	}
	p.above(0, header.Comments)
	p.line(0, "policy ", header.Text, " {", after(header.Comments))

	begin := p.statements(f)
	for _, s := range []struct {
		keyword string
		value   *Word
	}{{"hook", f.Hook}, {"default", dslVerdictWord(f.Default)}, {"mode", f.Mode}, {"on unknown", f.OnUnknown}} {
		if s.value != nil {
			begin("", s.value.Comments)
			p.line(2, s.keyword, " ", s.value.Text, after(s.value.Comments))
		}
	}
	for _, s := range f.Sets {
		begin("sets", s.Comments)
		p.dslSet(s)
	}
	for _, i := range f.Interfaces {
		begin("interfaces", i.Comments)
		p.line(2, "interface ", i.Name.Text, " = ", i.Kind.Text, " ", dslString(i.Value.Text), after(i.Comments))
	}
	for _, r := range f.Rules {
		begin("rules", r.Comments)
		p.dslRule(r)
	}
	for _, a := range f.Asserts {
		begin("asserts", a.Comments)
		p.dslAssert(a)
	}
	for _, t := range f.Tests {
		begin("tests", t.Comments)
		p.dslTest(t)
	}
	p.comments(2, f.Trailing)
	p.line(0, "}")
}

// statements returns a function to call before each statement with the YAML list
// it would stand in. It writes the comments above, and leaves a line blank before
// the rules, the asserts and the tests, and elsewhere where the author did.
func (p *printer) statements(f *File) func(list string, c Comments) {
	first, last := true, ""
	return func(list string, c Comments) {
		newList := list != last && list != "sets" && list != "interfaces"
		if !first && (newList || c.apart()) {
			p.line(0)
		}
		if list != last {
			p.comments(2, f.Headings[list])
		}
		p.above(2, c)
		first, last = false, list
	}
}

// policyName is the name of a file that has none of its own: that of the file
// itself, as far as it makes an id.
func policyName(f *File) string {
	if f.Source != nil {
		base := filepath.Base(f.Source.Name)
		if id := idOf(strings.TrimSuffix(base, filepath.Ext(base))); id != "" {
			return id
		}
	}
	return "policy"
}

func (p *printer) dslSet(s *Set) {
	head := "set " + s.Name.Text
	if s.Dynamic {
		head += " dynamic"
	}
	head += " = "
	if s.File != nil {
		p.line(2, head, "file ", dslString(s.File.Text), after(s.Comments))
		return
	}
	if one := head + spellBlock(s.Values); fits(2, one) && !anyComments(s.Values) {
		p.line(2, one, after(s.Comments))
		return
	}
	p.line(2, head, "{", after(s.Comments))
	for _, v := range s.Values {
		p.comments(4, v.Before)
		p.line(4, v.String(), ",", after(v.Comments))
	}
	p.line(2, "}")
}

func anyComments(words []Word) bool {
	for _, w := range words {
		if len(w.Before) > 0 || w.After != "" {
			return true
		}
	}
	return false
}

func (p *printer) dslRule(r *Rule) {
	head := "rule " + r.ID.Text + ": " + dslVerdict(r.Action.Verdict)
	if r.Log {
		head += " log"
	}
	if r.Audit {
		head += " audit"
	}
	p.dslConditional(r.Comments, head, r.Cond)
}

func (p *printer) dslAssert(a *Assert) {
	claim := "never "
	if a.Always {
		claim = "always "
	}
	p.dslConditional(a.Comments, "assert "+a.ID.Text+": "+claim+dslVerdict(a.Verdict.Verdict), a.Cond)
}

// dslConditional writes a rule or an assert. One that is too long for a line gets
// a line for each part of its condition, and then for each term.
func (p *printer) dslConditional(c Comments, head string, cond Cond) {
	if p.yaml {
		cond = Cond{p.setsByIn(cond.If), p.setsByIn(cond.Unless)}
	}
	if one := strings.TrimRight(head+" "+cond.String(), " "); fits(2, one) {
		p.line(2, one, after(c))
		return
	}
	p.line(2, head, after(c))
	for _, part := range []struct {
		keyword string
		x       Expr
	}{{"if ", cond.If}, {"unless ", cond.Unless}} {
		if part.x == nil {
			continue
		}
		for i, line := range breakExpr(part.x, lineWidth-4-len(part.keyword)) {
			if i == 0 {
				p.line(4, part.keyword, line)
			} else {
				p.line(6, line)
			}
		}
	}
}

// setsByIn writes `in $set` where YAML has `field: $set`.
func (p *printer) setsByIn(x Expr) Expr {
	each := func(terms []Expr) []Expr {
		list := make([]Expr, len(terms))
		for i, x := range terms {
			list[i] = p.setsByIn(x)
		}
		return list
	}
	switch x := x.(type) {
	case *Or:
		return &Or{Span: x.Span, Terms: each(x.Terms)}
	case *And:
		return &And{Span: x.Span, Terms: each(x.Terms)}
	case *Not:
		return &Not{Span: x.Span, X: p.setsByIn(x.X)}
	case *Compare:
		if x.Op == Equal && x.Values[0].Ref && p.sets[x.Values[0].Text] {
			c := *x
			c.Op = In
			return &c
		}
	}
	return x
}

// breakExpr spells an expression on one line, or on a line for each term if that
// is longer than the width.
func breakExpr(x Expr, width int) []string {
	one := x.String()
	if utf8.RuneCountInString(one) <= width {
		return []string{one}
	}
	terms, word, binds := []Expr{x}, "", 0
	switch x := x.(type) {
	case *Or:
		terms, word, binds = x.Terms, "or ", 1
	case *And:
		terms, word, binds = x.Terms, "and ", 2
	}
	var lines []string
	for i, t := range terms {
		var b strings.Builder
		if i > 0 {
			b.WriteString(word)
		}
		writeExpr(&b, t, binds)
		lines = append(lines, wrap(b.String(), width)...)
	}
	return lines
}

// wrap breaks text into lines of the width, as far as it can: after a comma, before
// `and` and `or`.
func wrap(text string, width int) []string {
	var lines []string
	line, last := "", ""
	for _, w := range strings.Split(text, " ") {
		mayBreak := strings.HasSuffix(last, ",") || w == "and" || w == "or"
		switch {
		case line == "":
			line = w
		case mayBreak && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > width:
			lines = append(lines, line)
			line = w
		default:
			line += " " + w
		}
		last = w
	}
	return append(lines, line)
}

func (p *printer) dslTest(t *Test) {
	result := "=> " + dslVerdict(t.Expect.Verdict)
	if t.By != nil {
		result += " by " + t.By.Text
	}
	givens := make([]string, len(t.Given))
	for i, g := range t.Given {
		givens[i] = g.Field.Text + " = " + g.Value.String()
	}
	head := strings.TrimSpace("test { "+strings.Join(givens, ", ")) + " }"
	switch {
	case fits(2, head+" "+result):
		p.line(2, head, " ", result, after(t.Comments))
	case fits(2, head):
		p.line(2, head, after(t.Comments))
		p.line(4, result)
	default:
		p.line(2, "test {", after(t.Comments))
		for i, g := range givens {
			if i < len(givens)-1 {
				g += ","
			}
			p.line(4, g)
		}
		p.line(2, "} ", result)
	}
}

func dslVerdict(v Verdict) string {
	if v == AllowHard {
		return "allow hard"
	}
	return v.String()
}

func dslVerdictWord(v *VerdictWord) *Word {
	if v == nil {
		return nil
	}
	return &Word{Comments: v.Comments, Text: dslVerdict(v.Verdict)}
}

func dslString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

package lang

import (
	"slices"
	"strings"
)

// maxDepth limits how deeply conditions and YAML values nest.
const maxDepth = 100

// cond reads `[if EXPR] [unless EXPR]`.
func (p *parser) cond() (c Cond, ok bool) {
	if p.accept("if") {
		if c.If, ok = p.expr(); !ok {
			return c, false
		}
	}
	if p.accept("unless") {
		if c.Unless, ok = p.expr(); !ok {
			return c, false
		}
	}
	if p.at("if") {
		p.errorf(p.span(p.tok), codeSyntax, "`if` stands before `unless`, once")
		return c, false
	}
	return c, true
}

func (p *parser) expr() (Expr, bool) {
	start := p.tok.start
	first, ok := p.and()
	if !ok || !p.at("or") {
		return first, ok
	}
	terms := []Expr{first}
	for p.accept("or") {
		x, ok := p.and()
		if !ok {
			return nil, false
		}
		terms = append(terms, x)
	}
	return joinOr(p.since(start), terms), true
}

func (p *parser) and() (Expr, bool) {
	start := p.tok.start
	first, ok := p.unary()
	if !ok || !p.at("and") {
		return first, ok
	}
	terms := []Expr{first}
	for p.accept("and") {
		x, ok := p.unary()
		if !ok {
			return nil, false
		}
		terms = append(terms, x)
	}
	return joinAnd(p.since(start), terms), true
}

func (p *parser) unary() (Expr, bool) {
	t := p.tok
	if !p.at("not") && t.kind != openParen {
		return p.compare()
	}
	if p.depth++; p.depth > maxDepth {
		p.errorf(p.span(t), codeLimit, "the condition nests deeper than %d", maxDepth)
		return nil, false
	}
	defer func() { p.depth-- }()
	p.advance()
	if t.kind == word {
		x, ok := p.unary()
		if !ok {
			return nil, false
		}
		return &Not{Span: p.since(t.start), X: x}, true
	}
	x, ok := p.expr()
	if !ok {
		return nil, false
	}
	if p.tok.kind != closeParen {
		p.unexpected("`and`, `or` or `)`").Notes = []Note{{p.span(t), "the parenthesis was opened here"}}
		return nil, false
	}
	p.advance()
	return x, true
}

// joinOr and joinAnd make one node of terms, and of the terms of those that are joined by
// the same word.
func joinOr(at Span, terms []Expr) *Or {
	return &Or{Span: at, Terms: opened(terms, func(x *Or) []Expr { return x.Terms })}
}

func joinAnd(at Span, terms []Expr) Expr {
	return &And{Span: at, Terms: opened(terms, func(x *And) []Expr { return x.Terms })}
}

func opened[T Expr](terms []Expr, inside func(T) []Expr) []Expr {
	if !slices.ContainsFunc(terms, func(x Expr) bool { _, ok := x.(T); return ok }) {
		return terms
	}
	var flat []Expr
	for _, x := range terms {
		if joined, ok := x.(T); ok {
			flat = append(flat, inside(joined)...)
		} else {
			flat = append(flat, x)
		}
	}
	return flat
}

var operators = [...]Op{
	equal: Equal, notEqual: NotEqual, less: Less, lessEqual: LessEqual, greater: Greater, greaterEqual: GreaterEqual,
}

func (p *parser) compare() (Expr, bool) {
	start := p.tok.start
	field := p.tok
	if field.kind != word || p.atNextStatement() {
		p.unexpected("a condition")
		return nil, false
	}
	p.advance()
	c := &Compare{Field: p.wordAt(field)}
	if p.tok.kind == assign {
		p.errorf(p.span(p.tok), codeSyntax, "`=` does not compare").Hint = "write `" + shorten(field.text) + " == ...`"
		p.tok.kind = equal
	}
	isOp := p.tok.kind >= equal
	switch {
	case isOp:
		c.Op = operators[p.tok.kind]
	case p.at("in"):
		c.Op = In
	case p.at("not") && p.ahead.kind == word && p.ahead.text == "in":
		c.Op = NotIn
		p.advance()
	default:
		d := p.unexpected("`==`, `in` or another comparison after `" + shorten(field.text) + "`")
		if !isField(field.text) && d.Hint == "" {
			d.Hint = "a condition is `FIELD == VALUE` or `FIELD in { VALUE, ... }`"
		}
		return nil, false
	}
	sign := p.tok
	p.advance()
	if p.tok.kind == openBrace {
		if isOp {
			p.wantsIn(sign)
		}
		c.Block = true
		values, ok := p.block(false)
		if !ok {
			return nil, false
		}
		c.Values = values
	} else {
		bare := p.tok
		if hint := p.bracesHint(); hint != "" {
			p.errorf(p.span(bare), codeSyntax, "values stand in `{` and `}`").Hint = hint
			return nil, false
		}
		value, ok := p.literal()
		if !ok {
			return nil, false
		}
		if p.tok.kind == comma {
			p.errorf(p.span(p.tok), codeSyntax, "`%s` takes one value, or several in `{` and `}`", sign.text).Hint = bracesFor(bare.text)
			return nil, false
		}
		c.Values = []Word{value}
	}
	c.Span = p.since(start)
	return c, true
}

// wantsIn reports a block after a comparison sign.
func (p *parser) wantsIn(sign token) {
	d := p.errorf(p.span(sign), codeSyntax, "`%s` takes one value, not a block", sign.text)
	switch sign.kind {
	case equal:
		d.Hint = "write `in { ... }`"
	case notEqual:
		d.Hint = "write `not in { ... }`"
	}
}

// bracesHint says how to write the block that the current token begins in brackets or
// parentheses; "" if it does not.
func (p *parser) bracesHint() string {
	t := p.tok
	if t.kind == openParen {
		return bracesFor("")
	}
	if t.kind != word || t.text[0] != '[' || strings.Contains(t.text, ":") || p.ahead.kind != comma && !strings.HasSuffix(t.text, "]") {
		return "" // such as an address
	}
	return bracesFor(strings.Trim(t.text, "[]"))
}

func bracesFor(first string) string {
	if first == "" {
		first = "VALUE"
	}
	return "write `{ " + shorten(first) + ", ... }`"
}

// block reads `{ LITERAL, ... }`; a comma may end it.
func (p *parser) block(mayBeEmpty bool) ([]Word, bool) {
	brace := p.tok
	p.advance()
	var values []Word
	for p.tok.kind != closeBrace {
		value, ok := p.literal()
		if !ok {
			return values, false
		}
		values = append(values, value)
		if p.tok.kind == comma {
			p.advance()
		} else if p.tok.kind != closeBrace {
			p.unexpected("`,` or `}`").Notes = []Note{{p.span(brace), "the block was opened here"}}
			return values, false
		}
	}
	p.advance()
	if len(values) == 0 && !mayBeEmpty {
		p.errorf(p.since(brace.start), codeEmpty, "the block is empty")
	}
	return values, true
}

func (p *parser) literal() (Word, bool) {
	t := p.tok
	if t.kind != word && t.kind != reference || p.atNextStatement() {
		d := p.unexpected("a value")
		if t.kind == quoted {
			d.Hint = "values are written without quotes"
		}
		return Word{}, false
	}
	p.advance()
	w := p.wordAt(t)
	if hint := plainHint(w.Text); hint != "" {
		p.errorf(w.Span, codeSyntax, "`%s` is not a value", shorten(w.Text)).Hint = hint
		return Word{}, false
	}
	return w, true
}

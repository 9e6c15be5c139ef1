package lang

import "strings"

var opWords = [...]string{"==", "!=", "<", "<=", ">", ">=", "in", "not in"}

// String gives the operator as the DSL spells it.
func (op Op) String() string { return opWords[op] }

// String gives the word as written, `$name` for a reference.
func (w Word) String() string {
	if w.Ref {
		return "$" + w.Text
	}
	return w.Text
}

func (e *Or) String() string      { return spell(e) }
func (e *And) String() string     { return spell(e) }
func (e *Not) String() string     { return spell(e) }
func (e *Compare) String() string { return spell(e) }

func spell(e Expr) string {
	var b strings.Builder
	writeExpr(&b, e, 0)
	return b.String()
}

// writeExpr writes an expression. Outer is how tightly the place around it binds:
// 0 takes any, 1 a term of `or`, 2 a term of `and`, the operand of `not`.
func writeExpr(b *strings.Builder, e Expr, outer int) {
	list := func(terms []Expr, word string, binds int) {
		if outer > binds {
			b.WriteByte('(')
			defer b.WriteByte(')')
		}
		for i, x := range terms {
			if i > 0 {
				b.WriteString(word)
			}
			writeExpr(b, x, binds+1)
		}
	}
	switch e := e.(type) {
	case *Or:
		list(e.Terms, " or ", 0)
	case *And:
		list(e.Terms, " and ", 1)
	case *Not:
		b.WriteString("not ")
		writeExpr(b, e.X, 2)
	case *Compare:
		b.WriteString(e.Field.Text + " " + e.Op.String() + " ")
		if !e.Block {
			b.WriteString(e.Values[0].String())
			return
		}
		b.WriteString(spellBlock(e.Values))
	}
}

// spellBlock writes `{ VALUE, ... }`.
func spellBlock(values []Word) string {
	if len(values) == 0 {
		return "{ }"
	}
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = v.String()
	}
	return "{ " + strings.Join(list, ", ") + " }"
}

// String gives the condition as the DSL spells it, `if ... unless ...`, or "".
func (c Cond) String() string {
	var parts []string
	if c.If != nil {
		parts = append(parts, "if "+c.If.String())
	}
	if c.Unless != nil {
		parts = append(parts, "unless "+c.Unless.String())
	}
	return strings.Join(parts, " ")
}

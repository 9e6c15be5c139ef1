package compiler

import (
	"fmt"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// maxDepth limits how deeply a tree nests. Text cannot come near: the parser
// allows 100 parentheses.
const maxDepth = 400

// condition is `[if EXPR] [unless EXPR]`.
func (c *checker) condition(cond lang.Cond) (Cond, site) {
	var parts All
	var at site
	if cond.If != nil {
		x, p := c.expr(cond.If, 1)
		at.Span = p.Span
		parts, at.parts = conjunction(nil, nil, x, p)
	}
	if cond.Unless != nil {
		x, p := c.expr(cond.Unless, 1)
		if at.Source == nil {
			at.Span = p.Span
		}
		at.End = max(at.End, p.End)
		parts, at.parts = append(parts, Not{x}), append(at.parts, site{p.Span, []site{p}})
	}
	if len(parts) == 1 {
		return parts[0], at.parts[0]
	}
	return parts, at
}

// conjunction adds a part, or the parts it is made of.
func conjunction(parts All, at []site, c Cond, p site) (All, []site) {
	all, ok := c.(All)
	switch {
	case !ok:
		return append(parts, c), append(at, p)
	case parts == nil && len(p.parts) > 0:
		return all, p.parts
	}
	return append(parts, all...), p.appendParts(at, len(all))
}

// disjunction adds a part, or the parts it is made of.
func disjunction(parts Any, at []site, c Cond, p site) (Any, []site) {
	if any, ok := c.(Any); ok {
		return append(parts, any...), p.appendParts(at, len(any))
	}
	return append(parts, c), append(at, p)
}

func (c *checker) expr(e lang.Expr, depth int) (Cond, site) {
	if depth > maxDepth {
		c.errorf(e.At(), codeLimit, "the condition nests deeper than %d", maxDepth)
		return Any{}, site{}
	}
	switch e := e.(type) {
	case *lang.And:
		parts, at := make(All, 0, len(e.Terms)), make([]site, 0, len(e.Terms))
		for _, t := range e.Terms {
			x, p := c.expr(t, depth+1)
			parts, at = conjunction(parts, at, x, p)
		}
		return parts, site{e.Span, at}
	case *lang.Or:
		parts, at := make(Any, 0, len(e.Terms)), make([]site, 0, len(e.Terms))
		for _, t := range e.Terms {
			x, p := c.expr(t, depth+1)
			parts, at = disjunction(parts, at, x, p)
		}
		return parts, site{e.Span, at}
	case *lang.Not:
		x, p := c.expr(e.X, depth+1)
		return Not{x}, site{e.Span, []site{p}}
	case *lang.Compare:
		return c.compare(e), site{Span: e.Span}
	}
	panic(fmt.Sprintf("compiler: no such expression %T", e))
}

// subject is what stands left of a comparison: a field, or the sugar `remote` or
// `local` for an address with its port.
type subject struct {
	field Field
	port  Field // for the sugar, the field that goes with the address
	sugar bool
}

// endNames are the sugar for an address and a port.
var endNames = [...]string{"remote", "local"}

// subjectOf finds the subject of a name under a hook.
func subjectOf(name string, hook Hook) (subject, *problem) {
	switch name {
	case "remote":
		return subject{RemoteAddress, RemotePort, true}, nil
	case "local":
		return subject{LocalAddress, LocalPort, true}, nil
	}
	for f, n := range fieldNames {
		if n != name {
			continue
		}
		if f := Field(f); f == NextHop && hook == Accept {
			return subject{}, wrong(codeFieldNotInHook, "the interface a connection arrives on is `interface`", "`%s` is not known under hook `%s`", name, hook)
		}
		return subject{field: Field(f)}, nil
	}
	return subject{}, wrong(codeUnknownField, fieldHint(name), "`%s` is not a field", name)
}

// fieldHint guesses which field was meant: `port` is the end of two names.
func fieldHint(name string) string {
	names := append(endNames[:], fieldNames[:]...)
	if hint := didYouMean(name, names); hint != "" {
		return hint
	}
	var likely []string
	for _, n := range names {
		if strings.HasSuffix(n, "_"+name) {
			likely = append(likely, "`"+n+"`")
		}
	}
	if likely != nil {
		return "write " + strings.Join(likely, " or ")
	}
	return "the fields are " + strings.Join(names, ", ")
}

func (c *checker) compare(e *lang.Compare) Cond {
	s, p := subjectOf(e.Field.Text, c.policy.Hook)
	if p != nil {
		c.report(e.Field.Span, p)
		return Any{}
	}
	switch e.Op {
	case lang.Less, lang.LessEqual, lang.Greater, lang.GreaterEqual:
		return c.ordered(e, s)
	}
	if len(e.Values) == 0 {
		if e.Source == nil {
			c.errorf(e.Span, codeEmpty, "there is nothing to compare `%s` with", e.Field.Text)
		} // else the parser has said so
		return Any{}
	}
	test := c.membership(e, s)
	if e.Op == lang.NotEqual || e.Op == lang.NotIn {
		return Not{test}
	}
	return test
}

// membership is the OR of `field ~ literal`.
func (c *checker) membership(e *lang.Compare, s subject) Cond {
	u := union{kind: s.field.kind()}
	for i := range e.Values {
		w := &e.Values[i]
		if w.Ref {
			if alone := c.includeName(&u, w, e, s); alone != nil {
				return alone
			}
			continue
		}
		if p := u.add(w.Text); p != nil {
			c.report(w.Span, c.orName(*w, p))
		} else if len(u.endpoints) > 0 && !s.sugar {
			c.report(w.Span, portWithAddress(s, w.Text))
			u.endpoints = nil
		}
	}
	u.normalize()
	return u.cond(s.field, s.port)
}

func portWithAddress(s subject, text string) *problem {
	sugar := strings.TrimSuffix(s.field.String(), "_address")
	return wrong(codePortWithAddress, fmt.Sprintf("compare it with `%s`", sugar), "`%s` has a port, `%s` is the address alone", text, s.field)
}

// includeName adds what `$name` stands for to the union. Of a constant set that is the
// only value it gives the condition instead, which all its uses share.
func (c *checker) includeName(u *union, w *lang.Word, e *lang.Compare, s subject) (alone Cond) {
	set, ok := c.sets[w.Text]
	if !ok {
		c.includeInterface(u, *w, &e.Field)
		return nil
	}
	if d := c.resolve(set, w.Span, &e.Field, u.kind); d != nil {
		return nil
	}
	if set.Dynamic {
		u.sets = append(u.sets, set.dynamic)
		return nil
	}
	if len(set.union.endpoints) > 0 && !s.sugar {
		c.report(w.Span, portWithAddress(s, set.endpoint.Text)).
			Notes = []lang.Note{{Span: set.endpoint.Span, Message: fmt.Sprintf("`$%s` holds it here", w.Text)}}
		return nil
	}
	if len(e.Values) == 1 {
		return set.union.cond(s.field, s.port)
	}
	u.include(&set.union)
	c.fold(set.union.size(), w.Span)
	return nil
}

// ordered is `field < n` and the like.
func (c *checker) ordered(e *lang.Compare, s subject) Cond {
	domain := s.field.Domain()
	switch {
	case !s.field.ordered():
		c.errorf(e.Field.Span, codeBadOperator, "`%s` has no order: compare it with `==`, `!=` or `in`", e.Field.Text)
		return Any{}
	case len(e.Values) != 1 || e.Values[0].Ref || !isDigits(e.Values[0].Text):
		at := e.Span
		if len(e.Values) > 0 {
			at = e.Values[0].Span
		}
		c.errorf(at, codeBadOperator, "`<`, `<=`, `>` and `>=` compare with one plain number")
		return Any{}
	}
	w := e.Values[0]
	number, p := parseNumber(w.Text, s.field.kindName(), domain.Last.Lo)
	if p != nil {
		c.report(w.Span, p)
	}
	n := Number(number)
	low, high := Range{domain.First, n}, Range{n, domain.Last}
	switch e.Op {
	case lang.LessEqual:
		return In{s.field, []Range{low}}
	case lang.GreaterEqual:
		return In{s.field, []Range{high}}
	case lang.Less:
		return In{s.field, low.without(high)}
	}
	return In{s.field, high.without(low)}
}

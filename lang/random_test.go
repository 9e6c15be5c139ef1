package lang_test

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// random makes syntax trees of every shape the grammar has.
type random struct{ *rand.Rand }

func (r random) pick(words ...string) string { return words[r.IntN(len(words))] }

func (r random) id() string {
	return r.pick("a", "lan", "x-1", "if", "rule", "set", "unless", "no", "on", "y", "null", "policy", "in", "hard", "true", "default-deny")
}

func (r random) literal() lang.Word {
	if r.IntN(5) == 0 {
		return lang.Word{Text: r.id(), Ref: true}
	}
	return lang.Word{Text: r.pick("1", "0", "445", "139/tcp", "1000-2000/udp", "10.0.0.0/8", "fd00::", "::", "::1", "[2001:db8::1]:443/udp", "10.0.0.9:445",
		"6to4", "wifi", "unknown", "0x6008005000000", "010", "1e3", "22:22", "no", "null", "and", "or", "if", "rule", "-", "-1", ".5", "1.5", "2001-01-01", "[", "]", "true")}
}

func (r random) comments() lang.Comments {
	var c lang.Comments
	for r.IntN(4) == 0 {
		c.Before = append(c.Before, r.pick(" above", "", " # twice", "no space", " quoted ' \" \\"))
		if r.IntN(4) == 0 {
			c.Before = append(c.Before, "\n")
		}
	}
	if r.IntN(5) == 0 {
		c.After = r.pick(" after", " {", " - a: b")
	}
	if r.IntN(3) == 0 {
		c.Before = append([]string{"\n"}, c.Before...)
	}
	return c
}

func (r random) compare() *lang.Compare {
	c := &lang.Compare{Field: lang.Word{Text: r.pick("remote_port", "remote", "next_hop", "interface", "protocol")}, Op: lang.Op(r.IntN(int(lang.NotIn) + 1))}
	c.Values = []lang.Word{r.literal()}
	if c.Op >= lang.In {
		c.Block = r.IntN(2) == 0
		for c.Block && r.IntN(3) > 0 {
			c.Values = append(c.Values, r.literal())
		}
	}
	return c
}

// expr makes an expression in the form the parser gives: no Or in an Or, no And
// in an And.
func (r random) expr(depth int) lang.Expr {
	if depth == 0 || r.IntN(3) == 0 {
		return r.compare()
	}
	var terms []lang.Expr
	for range 2 + r.IntN(3) {
		terms = append(terms, r.expr(depth-1))
	}
	without := func(same func(lang.Expr) bool) []lang.Expr {
		for i, x := range terms {
			if same(x) {
				terms[i] = r.compare()
			}
		}
		return terms
	}
	switch r.IntN(3) {
	case 0:
		return &lang.Not{X: terms[0]}
	case 1:
		return &lang.And{Terms: without(func(x lang.Expr) bool { _, ok := x.(*lang.And); return ok })}
	}
	return &lang.Or{Terms: without(func(x lang.Expr) bool { _, ok := x.(*lang.Or); return ok })}
}

func (r random) cond() (c lang.Cond) {
	if r.IntN(3) > 0 {
		c.If = r.expr(r.IntN(4))
	}
	if r.IntN(3) == 0 {
		c.Unless = r.expr(r.IntN(3))
	}
	return c
}

func (r random) verdict() lang.VerdictWord {
	return lang.VerdictWord{Verdict: lang.Verdict(r.IntN(3))}
}

func (r random) text() lang.Word {
	return lang.Word{Text: r.pick("Corp VPN", "", "a.hop", `C:\x "y"`, "it's", "日本", "~", "#", "a: b", "- a", " x ", "0x1", "null")}
}

func (r random) file() *lang.File {
	f := &lang.File{Policy: &lang.Word{Text: r.id(), Comments: r.comments()}}
	for r.IntN(3) == 0 {
		f.Imports = append(f.Imports, &lang.Import{Comments: r.comments(), Path: r.text()})
	}
	setting := func(words ...string) *lang.Word {
		if r.IntN(2) == 0 {
			return nil
		}
		return &lang.Word{Text: r.pick(words...), Comments: r.comments()}
	}
	f.Hook, f.Mode, f.OnUnknown = setting("connect", "accept"), setting("enforce", "audit"), setting("fail-closed", "fail-open")
	if r.IntN(4) > 0 {
		v := r.verdict()
		v.Comments = r.comments()
		f.Default = &v
	}
	for i := 0; r.IntN(3) > 0; i++ {
		s := &lang.Set{Comments: r.comments(), Name: lang.Word{Text: fmt.Sprint("s", i)}, Dynamic: r.IntN(2) == 0}
		if r.IntN(4) == 0 {
			w := r.text()
			s.File = &w
		} else {
			for len(s.Values) == 0 && !s.Dynamic || r.IntN(3) > 0 {
				w := r.literal()
				if r.IntN(4) == 0 {
					w.Comments = r.comments()
					if slices.Contains(w.Before, "\n") { // between values they go
						w.Before = nil
					}
				}
				s.Values = append(s.Values, w)
			}
		}
		f.Sets = append(f.Sets, s)
	}
	for i := 0; r.IntN(2) > 0; i++ {
		f.Interfaces = append(f.Interfaces, &lang.Interface{Comments: r.comments(), Name: lang.Word{Text: fmt.Sprint("i", i)}, Kind: lang.Word{Text: r.pick("alias", "luid", "guid", "name")}, Value: r.text()})
	}
	for i := 0; r.IntN(5) > 0; i++ {
		f.Rules = append(f.Rules, &lang.Rule{Comments: r.comments(), ID: lang.Word{Text: r.id()}, Action: r.verdict(), Log: r.IntN(3) == 0, Audit: r.IntN(3) == 0, Cond: r.cond()})
	}
	for r.IntN(2) > 0 {
		f.Asserts = append(f.Asserts, &lang.Assert{Comments: r.comments(), ID: lang.Word{Text: r.id()}, Always: r.IntN(2) == 0, Verdict: r.verdict(), Cond: r.cond()})
	}
	for r.IntN(2) > 0 {
		t := &lang.Test{Comments: r.comments(), Expect: r.verdict()}
		for _, field := range []string{"interface_type", "tunnel_type", "remote", "protocol", "next_hop"} {
			if r.IntN(2) == 0 {
				t.Given = append(t.Given, lang.Given{Field: lang.Word{Text: field}, Value: r.literal()})
			}
		}
		if r.IntN(2) == 0 {
			t.By = &lang.Word{Text: r.id()}
		}
		f.Tests = append(f.Tests, t)
	}
	for r.IntN(3) == 0 {
		f.Trailing = append(f.Trailing, " the end")
	}
	return f
}

// bare gives a copy of a tree without positions and blank lines.
func bare[T any](x T) T {
	v := reflect.ValueOf(&x).Elem()
	v.Set(bareValue(v))
	return x
}

func bareValue(v reflect.Value) reflect.Value {
	switch {
	case v.Type() == reflect.TypeFor[lang.Span](), v.Type() == reflect.TypeFor[*lang.Source](), v.Type() == reflect.TypeFor[lang.Syntax]():
		return reflect.Zero(v.Type())
	case (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface || v.Kind() == reflect.Slice) && v.IsNil():
		return v
	case v.Kind() == reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		p.Elem().Set(bareValue(v.Elem()))
		return p
	case v.Kind() == reflect.Interface:
		return bareValue(v.Elem())
	case v.Kind() == reflect.Struct:
		s := reflect.New(v.Type()).Elem()
		for i := range v.NumField() {
			s.Field(i).Set(bareValue(v.Field(i)))
		}
		if c, ok := s.Addr().Interface().(*lang.Comments); ok && len(c.Before) > 0 && c.Before[0] == "\n" {
			if c.Before = c.Before[1:]; len(c.Before) == 0 { // some blank lines are always there
				c.Before = nil
			}
		}
		return s
	case v.Kind() == reflect.Slice:
		s := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			s.Index(i).Set(bareValue(v.Index(i)))
		}
		return s
	}
	return v
}

// truth values a condition when each `field ~ literal` is true, false or unknown
// as the seed decides.
func truth(x lang.Expr, seed uint64) int {
	switch x := x.(type) {
	case *lang.Or:
		t := -1
		for _, y := range x.Terms {
			t = max(t, truth(y, seed))
		}
		return t
	case *lang.And:
		t := 1
		for _, y := range x.Terms {
			t = min(t, truth(y, seed))
		}
		return t
	case *lang.Not:
		return -truth(x.X, seed)
	}
	c := x.(*lang.Compare)
	sign := "=="
	if c.Op > lang.NotEqual && c.Op < lang.In {
		sign = c.Op.String()
	}
	t := -1
	for _, v := range c.Values {
		h := fnv.New64a()
		fmt.Fprint(h, c.Field.Text, sign, v.String(), seed)
		t = max(t, int(h.Sum64()>>7%3)-1)
	}
	if c.Op == lang.NotEqual || c.Op == lang.NotIn {
		return -t
	}
	return t
}

func condTruth(c lang.Cond, seed uint64) int {
	t := 1
	if c.If != nil {
		t = truth(c.If, seed)
	}
	if c.Unless != nil {
		t = min(t, -truth(c.Unless, seed))
	}
	return t
}

// TestRandomTrees prints random trees in both syntaxes and reads them back: the
// DSL gives the same tree, YAML one of the same meaning with the same comments.
func TestRandomTrees(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 100
	}
	for seed := range uint64(n) {
		f := random{rand.New(rand.NewPCG(seed, 0))}.file()
		text := lang.Format(f, lang.DSL)
		read := parsed(t, lang.DSL, text)
		sameText(t, string(text), string(lang.Format(read, lang.DSL)))
		if want, got := bare(*f), bare(*read); !reflect.DeepEqual(want, got) {
			require.Equal(t, want, got, "seed %d:\n%s", seed, text)
		}
		inYAML := lang.Format(read, lang.YAML)
		fromYAML := parsed(t, lang.YAML, inYAML)
		sameMeaning(t, read, fromYAML)
		sameText(t, string(inYAML), string(lang.Format(fromYAML, lang.YAML)))
		back := lang.Format(fromYAML, lang.DSL)
		again := parsed(t, lang.DSL, back)
		sameMeaning(t, read, again)
		sameText(t, string(back), string(lang.Format(again, lang.DSL)))
	}
}

// sameMeaning requires two files to differ in the form of their conditions only.
func sameMeaning(t *testing.T, a, b *lang.File) {
	without := func(f *lang.File) lang.File {
		c := bare(*f)
		for _, r := range c.Rules {
			r.Cond = lang.Cond{}
		}
		for _, r := range c.Asserts {
			r.Cond = lang.Cond{}
		}
		if len(c.Imports) > 0 { // the head of a file changes sides
			c.Imports[0].Before, c.Policy.Before = nil, nil
		}
		return c
	}
	if x, y := without(a), without(b); !reflect.DeepEqual(x, y) {
		require.Equal(t, x, y)
	}
	same := func(x, y lang.Cond, id string) {
		for seed := range uint64(20) {
			if condTruth(x, seed) != condTruth(y, seed) {
				require.Fail(t, "meanings differ", "%s: %s\n%s", id, x, y)
			}
		}
	}
	for i, r := range a.Rules {
		same(r.Cond, b.Rules[i].Cond, r.ID.Text)
	}
	for i, r := range a.Asserts {
		same(r.Cond, b.Asserts[i].Cond, r.ID.Text)
	}
}

func TestExprString(t *testing.T) {
	for _, text := range []string{
		"a == 1",
		"a in { 1, 2 } and b not in $s or not c < 3",
		"(a == 1 or b == 2) and not (c >= 3 and d != 4)",
		"not not a <= 1",
		"a == fd00:: or a in $b",
	} {
		x, err := lang.ParseExpr("x", []byte(text))
		require.NoError(t, err)
		require.Equal(t, text, x.String())
	}
	x, err := lang.ParseExpr("x", []byte("((a == 1) and ((b == 2 and (c == 3)))) or (d > 4 or e in {5,})"))
	require.NoError(t, err)
	require.Equal(t, "a == 1 and b == 2 and c == 3 or d > 4 or e in { 5 }", x.String())
	require.True(t, !strings.Contains(x.String(), "("))
}

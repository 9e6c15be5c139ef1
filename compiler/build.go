package compiler

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// Builder makes a policy without text. Its methods return it, so that calls
// chain; what is wrong is reported by Policy at the end, all at once. Literals
// are those of the language, and `$name` is a set or an interface.
type Builder struct {
	file  lang.File
	rules []*RuleBuilder
}

// New begins a policy for hook connect, in mode enforce, fail-closed and without
// a default, which it must be given.
func New(name string) *Builder {
	return &Builder{file: lang.File{Policy: &lang.Word{Text: name}}}
}

// Default says what happens to a connection that no rule matches.
func (b *Builder) Default(v lang.Verdict) *Builder {
	b.file.Default = &lang.VerdictWord{Verdict: v}
	return b
}

// Hook says when the policy is asked.
func (b *Builder) Hook(h Hook) *Builder {
	b.file.Hook = &lang.Word{Text: h.String()}
	return b
}

// AuditMode lets the policy compute, count and log, but always answer allow.
func (b *Builder) AuditMode() *Builder {
	b.file.Mode = &lang.Word{Text: "audit"}
	return b
}

// FailOpen lets allow rules match, and deny rules not, where their condition is
// unknown.
func (b *Builder) FailOpen() *Builder {
	b.file.OnUnknown = &lang.Word{Text: "fail-open"}
	return b
}

// Set names constant values.
func (b *Builder) Set(name string, literals ...string) *Builder {
	b.file.Sets = append(b.file.Sets, &lang.Set{Name: lang.Word{Text: name}, Values: words(literals)})
	return b
}

// DynamicSet names values that can change while the policy runs; these are the
// first.
func (b *Builder) DynamicSet(name string, literals ...string) *Builder {
	b.file.Sets = append(b.file.Sets, &lang.Set{Name: lang.Word{Text: name}, Values: words(literals), Dynamic: true})
	return b
}

// Interface names an interface by its alias, luid, guid or name.
func (b *Builder) Interface(name, kind, value string) *Builder {
	b.file.Interfaces = append(b.file.Interfaces, &lang.Interface{
		Name: lang.Word{Text: name}, Kind: lang.Word{Text: kind}, Value: lang.Word{Text: value},
	})
	return b
}

// Rule begins a rule, which Deny, Allow or AllowHard ends.
func (b *Builder) Rule(id string) *RuleBuilder {
	r := &RuleBuilder{builder: b, rule: &lang.Rule{ID: lang.Word{Text: id}}}
	b.rules = append(b.rules, r)
	b.file.Rules = append(b.file.Rules, r.rule)
	return r
}

// Never claims that no connection for which all conditions hold gets the verdict.
func (b *Builder) Never(id string, v lang.Verdict, all ...Expr) *Builder {
	return b.assert(id, false, v, all)
}

// Always claims that every connection for which all conditions hold gets the
// verdict.
func (b *Builder) Always(id string, v lang.Verdict, all ...Expr) *Builder {
	return b.assert(id, true, v, all)
}

func (b *Builder) assert(id string, always bool, v lang.Verdict, all []Expr) *Builder {
	b.file.Asserts = append(b.file.Asserts, &lang.Assert{
		ID: lang.Word{Text: id}, Always: always, Verdict: lang.VerdictWord{Verdict: v}, Cond: lang.Cond{If: conjoin(all)},
	})
	return b
}

// Test expects a verdict for a connection, by the rule unless that is "".
func (b *Builder) Test(expect lang.Verdict, by string, given ...Given) *Builder {
	t := &lang.Test{Expect: lang.VerdictWord{Verdict: expect}}
	if by != "" {
		t.By = &lang.Word{Text: by}
	}
	for _, g := range given {
		t.Given = append(t.Given, lang.Given{Field: lang.Word{Text: g.Field}, Value: word(g.Literal)})
	}
	b.file.Tests = append(b.file.Tests, t)
	return b
}

// Policy checks what has been built. The error is a lang.Diagnostics.
func (b *Builder) Policy() (*Policy, error) {
	file, err := b.File()
	if err != nil {
		return nil, err
	}
	return Check(file, nil)
}

// File is the syntax tree, for Check with options and for lang.Format. The error
// is about rules without a verdict.
func (b *Builder) File() (*lang.File, error) {
	var unfinished lang.Diagnostics
	for _, r := range b.rules {
		if !r.done {
			unfinished = append(unfinished, lang.Diagnostic{
				Code: codeMissingVerdict, Message: "rule `" + r.rule.ID.Text + "` has no verdict", Hint: "end it with Deny, Allow or AllowHard",
			})
		}
	}
	return &b.file, unfinished.Err()
}

// RuleBuilder is a rule that is still without a verdict.
type RuleBuilder struct {
	builder *Builder
	rule    *lang.Rule
	done    bool
}

// Log writes an event when the rule decides.
func (r *RuleBuilder) Log() *RuleBuilder {
	r.rule.Log = true
	return r
}

// Audit takes the rule out of enforcement; it is counted and logged.
func (r *RuleBuilder) Audit() *RuleBuilder {
	r.rule.Audit = true
	return r
}

// Unless excepts the connections for which the condition holds, beside those that are
// excepted already.
func (r *RuleBuilder) Unless(e Expr) *RuleBuilder {
	if before := r.rule.Cond.Unless; before != nil {
		e = Expr{before}.Or(e)
	}
	r.rule.Cond.Unless = e.tree()
	return r
}

// Deny ends the rule: connections for which all conditions hold are denied.
func (r *RuleBuilder) Deny(all ...Expr) *Builder { return r.end(lang.Deny, all) }

// Allow ends the rule: connections for which all conditions hold are allowed,
// unless another filter of the host blocks them.
func (r *RuleBuilder) Allow(all ...Expr) *Builder { return r.end(lang.Allow, all) }

// AllowHard ends the rule: connections for which all conditions hold are allowed,
// and no other filter can block them.
func (r *RuleBuilder) AllowHard(all ...Expr) *Builder { return r.end(lang.AllowHard, all) }

func (r *RuleBuilder) end(v lang.Verdict, all []Expr) *Builder {
	r.rule.Action.Verdict = v
	r.rule.Cond.If = conjoin(all)
	r.done = true
	return r.builder
}

// Expr is a condition in the making. Fields and ends of the connection make
// them: InterfaceType.Is("wifi"). The zero Expr is an error in any policy.
type Expr struct{ expr lang.Expr }

func (e Expr) String() string { return e.tree().String() }

func (e Expr) tree() lang.Expr {
	if e.expr == nil {
		return &lang.Compare{Values: []lang.Word{{}}}
	}
	return e.expr
}

// And holds when e and f do.
func (e Expr) And(f Expr) Expr {
	return Expr{conjoin([]Expr{e, f})}
}

// Or holds when e or f does.
func (e Expr) Or(f Expr) Expr {
	var terms []lang.Expr
	for _, x := range []lang.Expr{e.tree(), f.tree()} {
		if or, ok := x.(*lang.Or); ok {
			terms = append(terms, or.Terms...)
		} else {
			terms = append(terms, x)
		}
	}
	return Expr{&lang.Or{Terms: terms}}
}

// Not holds when e does not.
func (e Expr) Not() Expr { return Expr{&lang.Not{X: e.tree()}} }

// conjoin joins conditions by `and`; none of them are nil.
func conjoin(all []Expr) lang.Expr {
	var terms []lang.Expr
	for _, e := range all {
		if and, ok := e.tree().(*lang.And); ok {
			terms = append(terms, and.Terms...)
		} else {
			terms = append(terms, e.tree())
		}
	}
	switch len(terms) {
	case 0:
		return nil
	case 1:
		return terms[0]
	}
	return &lang.And{Terms: terms}
}

// Is compares the field with one literal.
func (f Field) Is(literal string) Expr { return compare(f.String(), lang.Equal, literal) }

// IsNot compares the field with one literal.
func (f Field) IsNot(literal string) Expr { return compare(f.String(), lang.NotEqual, literal) }

// IsUnknown holds when the host does not know the field.
func (f Field) IsUnknown() Expr { return f.Is("unknown") }

// In compares the field with several literals, one of which must match.
func (f Field) In(literals ...string) Expr { return compare(f.String(), lang.In, literals...) }

// NotIn compares the field with several literals, none of which may match.
func (f Field) NotIn(literals ...string) Expr { return compare(f.String(), lang.NotIn, literals...) }

// Less compares a port, sub_interface or compartment with a number.
func (f Field) Less(n uint32) Expr { return f.ordering(lang.Less, n) }

// AtMost compares a port, sub_interface or compartment with a number.
func (f Field) AtMost(n uint32) Expr { return f.ordering(lang.LessEqual, n) }

// Greater compares a port, sub_interface or compartment with a number.
func (f Field) Greater(n uint32) Expr { return f.ordering(lang.Greater, n) }

// AtLeast compares a port, sub_interface or compartment with a number.
func (f Field) AtLeast(n uint32) Expr { return f.ordering(lang.GreaterEqual, n) }

func (f Field) ordering(op lang.Op, n uint32) Expr {
	return compare(f.String(), op, strconv.FormatUint(uint64(n), 10))
}

// End is an end of the connection: address, port and protocol together.
type End string

const (
	Remote End = "remote"
	Local  End = "local"
)

// Is compares the end with one literal, such as `10.0.0.1:443/tcp`.
func (e End) Is(literal string) Expr { return compare(string(e), lang.Equal, literal) }

// IsNot compares the end with one literal.
func (e End) IsNot(literal string) Expr { return compare(string(e), lang.NotEqual, literal) }

// In compares the end with several literals, one of which must match.
func (e End) In(literals ...string) Expr { return compare(string(e), lang.In, literals...) }

// NotIn compares the end with several literals, none of which may match.
func (e End) NotIn(literals ...string) Expr { return compare(string(e), lang.NotIn, literals...) }

func compare(field string, op lang.Op, literals ...string) Expr {
	block := (op == lang.In || op == lang.NotIn) && len(literals) != 1
	return Expr{&lang.Compare{Field: lang.Word{Text: field}, Op: op, Values: words(literals), Block: block}}
}

func words(literals []string) []lang.Word {
	list := make([]lang.Word, len(literals))
	for i, l := range literals {
		list[i] = word(l)
	}
	return list
}

func word(literal string) lang.Word {
	name, ref := strings.CutPrefix(literal, "$")
	return lang.Word{Text: name, Ref: ref}
}

var idPattern = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// checkIDs does for a tree without source what the parser does for text.
func (c *checker) checkIDs(file *lang.File) {
	if file.Source != nil {
		return
	}
	var ids []lang.Word
	if file.Policy != nil {
		ids = append(ids, *file.Policy)
	}
	for _, s := range file.Sets {
		ids = append(ids, s.Name)
	}
	for _, i := range file.Interfaces {
		ids = append(ids, i.Name)
	}
	for _, a := range file.Asserts {
		ids = append(ids, a.ID)
	}
	for _, r := range file.Rules {
		ids = append(ids, r.ID)
	}
	for _, id := range ids {
		if !idPattern.MatchString(id.Text) {
			c.errorf(id.Span, codeBadID, "`%s` is not an id", id.Text)
		}
	}
	if slices.ContainsFunc(file.Rules, func(r *lang.Rule) bool { return r.ID.Text == DefaultRule }) {
		c.errorf(lang.Span{}, codeBadID, "no rule may be called `%s`", DefaultRule)
	}
}

package tests

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// Every finding of lint is true, and nothing it looks for is missed, as trying every
// connection shows.
func TestLintAgainstEveryRequest(t *testing.T) {
	seen := map[string]int{}
	smallPolicies(t, 22, gen.Options{Rules: 7, Asserts: true, Events: true}, func(t *testing.T, _ *rand.Rand, p *compiler.Policy, requests []compiler.Request) {
		found := compiler.Lint(p, &compiler.LintOptions{Pedantic: true})
		for _, d := range found {
			seen[d.Code]++
		}
		l := lintCase{T: t, policy: p, requests: requests, found: found, complete: !strings.Contains(p.String(), "$vpn")}
		require.Empty(t, l.codes("lint-limit"))
		gone := l.rulesWithoutEffect()
		l.rulesPartlyShadowed(gone)
		l.conditions()
		l.asserts()
	})
	if testing.Short() {
		return
	}
	for _, code := range []string{"shadowed-rule", "redundant-rule", "after-unconditional", "never-true", "always-true", "partly-shadowed", "vacuous-assert"} {
		require.Greater(t, seen[code], 5, code)
	}
}

type lintCase struct {
	*testing.T
	policy   *compiler.Policy
	requests []compiler.Request
	found    lang.Diagnostics
	complete bool // no interface is free, so that findings are if and only if
}

func (l *lintCase) codes(code string) (found lang.Diagnostics) {
	for _, d := range l.found {
		if d.Code == code {
			found = append(found, d)
		}
	}
	return found
}

// has reports whether there is a finding about the whole of a rule.
func (l *lintCase) has(rule int, code string) bool {
	r := &l.policy.Rules[rule]
	return slices.ContainsFunc(l.codes(code), func(d lang.Diagnostic) bool {
		return d.Span == r.Span && !strings.HasPrefix(d.Message, "in rule")
	})
}

// without is the policy without some rules.
func without(p *compiler.Policy, gone func(i int) bool) *compiler.Policy {
	q := *p
	q.Rules = nil
	for i := range p.Rules {
		if !gone(i) {
			q.Rules = append(q.Rules, p.Rules[i])
		}
	}
	return &q
}

// effects is what a policy does with a connection, and who would in audit.
func effects(p *compiler.Policy, r *compiler.Request) string {
	d := p.Eval(r)
	verdict, log, audit := p.Default, false, ""
	if d.Rule < len(p.Rules) {
		verdict, log = p.Rules[d.Rule].Verdict, p.Rules[d.Rule].Log
	}
	if d.Audit >= 0 {
		audit = p.Rules[d.Audit].ID
	}
	return fmt.Sprint(verdict, log, audit)
}

func (l *lintCase) same(a, b *compiler.Policy) bool {
	for i := range l.requests {
		if effects(a, &l.requests[i]) != effects(b, &l.requests[i]) {
			return false
		}
	}
	return true
}

func (l *lintCase) rulesWithoutEffect() (gone []bool) {
	p := l.policy
	decides := make([]bool, len(p.Rules)+1)
	for i := range l.requests {
		d := p.Eval(&l.requests[i])
		decides[d.Rule] = true
		if d.Audit >= 0 {
			decides[d.Audit] = true
		}
	}
	gone = make([]bool, len(p.Rules))
	after := false
	for i := range p.Rules {
		after = after || l.has(i, "after-unconditional")
		never := after || l.has(i, "shadowed-rule") || l.has(i, "never-true")
		require.False(l, never && decides[i], "rule %d decides", i)
		require.False(l, l.complete && !never && !decides[i], "rule %d never decides", i)
		gone[i] = never
	}
	audited := slices.ContainsFunc(p.Rules, func(r compiler.Rule) bool { return r.Audit })
	goneAfter := false
	for i := len(p.Rules) - 1; i >= 0; i-- {
		found := l.has(i, "redundant-rule")
		if found || l.complete && !audited && !goneAfter && !gone[i] {
			require.Equal(l, l.same(p, without(p, func(j int) bool { return j == i })), found, "rule %d", i)
		}
		gone[i] = gone[i] || found
		goneAfter = goneAfter || gone[i]
	}
	require.True(l, l.same(p, without(p, func(i int) bool { return gone[i] })))
	return gone
}

func (l *lintCase) rulesPartlyShadowed(gone []bool) {
	p := l.policy
	for j := range p.Rules {
		if all, ok := p.Rules[j].Cond.(compiler.All); gone[j] || p.Rules[j].Audit || ok && len(all) == 0 {
			continue
		}
		want := map[string]bool{}
		for i := range l.requests {
			d := p.Eval(&l.requests[i])
			if d.Rule < j && (p.Rules[d.Rule].Verdict == lang.Deny) != (p.Rules[j].Verdict == lang.Deny) && p.Matches(&p.Rules[j], &l.requests[i]) {
				want[p.Rules[d.Rule].ID] = true
			}
		}
		if !l.complete {
			continue
		}
		require.Equal(l, len(want) > 0, l.has(j, "partly-shadowed"), "rule %d: %v", j, want)
		for _, d := range l.codes("partly-shadowed") {
			if d.Span == p.Rules[j].Span {
				require.Len(l, d.Notes, len(want), "%v", d)
			}
		}
	}
}

// conditions compares the findings about conditions with what the outermost parts of
// one value are.
func (l *lintCase) conditions() {
	p := l.policy
	var want []string
	for i := range p.Rules {
		r := &p.Rules[i]
		matches := false
		for k := range l.requests {
			matches = matches || p.Matches(r, &l.requests[k])
		}
		switch all, ok := r.Cond.(compiler.All); {
		case ok && len(all) == 0:
		case !matches:
			want = append(want, fmt.Sprintf("rule `%s` never matches: its condition is never true", r.ID))
		default:
			l.parts(r, r.Cond, &want)
		}
	}
	var got []string
	for _, d := range append(l.codes("never-true"), l.codes("always-true")...) {
		got = append(got, d.Message)
		l.standsThere(d)
	}
	slices.Sort(want)
	slices.Sort(got)
	want, got = slices.Compact(want), slices.Compact(got)
	if l.complete {
		require.Equal(l, want, append([]string(nil), got...))
		return
	}
	require.Subset(l, want, got)
}

// standsThere requires that a finding about a part of a condition points at what it
// names, or at the comparison that has it.
func (l *lintCase) standsThere(d lang.Diagnostic) {
	_, named, ok := strings.Cut(d.Message, ", `")
	text := string(d.Source.Text[d.Start:d.End])
	if !ok || strings.Contains(text, " unless ") {
		return // a whole condition
	}
	named, _, _ = strings.Cut(named, "`")
	file, err := lang.Parse("random.hop", d.Source.Text)
	require.NoError(l, err)
	claim, err := lang.ParseClaim("claim", false, []byte("deny if "+text))
	require.NoError(l, err, "%s: %s", d, text)
	p, err := compiler.Check(file, &compiler.Options{BindAll: true, Asserts: []*lang.Assert{claim}})
	require.NoError(l, err)
	c := p.Asserts[len(p.Asserts)-1].Cond
	require.Contains(l, c.String()+" or "+compiler.Not{X: c}.String(), strings.TrimSuffix(named, "…"), "%s", text)
}

func (l *lintCase) parts(r *compiler.Rule, c compiler.Cond, want *[]string) {
	if in, ok := c.(compiler.In); ok && len(in.Ranges) > 0 && !slices.ContainsFunc(in.Ranges, func(x compiler.Range) bool {
		return x.First != x.Last || in.Field.Known(x.First)
	}) {
		return // the literal has a warning of its own
	}
	never, always := true, true
	for i := range l.requests {
		v := compiler.EvalCond(c, &l.requests[i])
		never, always = never && v != compiler.True, always && v == compiler.True
	}
	text := c.String()
	if len(text) > 100 {
		text = text[:100] + "…"
	}
	switch {
	case never:
		*want = append(*want, fmt.Sprintf("in rule `%s`, `%s` is never true", r.ID, text))
		return
	case always:
		*want = append(*want, fmt.Sprintf("in rule `%s`, `%s` is always true", r.ID, text))
		return
	}
	switch c := c.(type) {
	case compiler.All:
		for _, part := range c {
			l.parts(r, part, want)
		}
	case compiler.Any:
		for _, part := range c {
			l.parts(r, part, want)
		}
	case compiler.Not:
		l.parts(r, c.X, want)
	}
}

func (l *lintCase) asserts() {
	for i := range l.policy.Asserts {
		a := &l.policy.Asserts[i]
		if all, ok := a.Cond.(compiler.All); ok && len(all) == 0 {
			continue
		}
		applies := false
		for k := range l.requests {
			c := compiler.EvalCond(a.Cond, &l.requests[k])
			applies = applies || c == compiler.True || c == compiler.Maybe && a.Always == (a.Verdict == lang.Deny)
		}
		found := slices.ContainsFunc(l.codes("vacuous-assert"), func(d lang.Diagnostic) bool { return d.Span == a.Span })
		require.False(l, found && applies, "%s", a)
		require.False(l, l.complete && !found && !applies, "%s", a)
	}
}

package compiler

import (
	"fmt"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// String gives the policy as DSL text that means the same. Constant sets are
// part of the conditions.
func (p *Policy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy %s {\n", p.Name)
	if p.Hook != Connect {
		fmt.Fprintf(&b, "  hook %s\n", p.Hook)
	}
	fmt.Fprintf(&b, "  default %s\n", verdictText(p.Default))
	if p.AuditMode {
		b.WriteString("  mode audit\n")
	}
	if p.FailOpen {
		b.WriteString("  on unknown fail-open\n")
	}
	for _, s := range p.Sets {
		words, _ := In{s.Field, s.Ranges}.literals()
		fmt.Fprintf(&b, "  set %s dynamic = { %s }\n", s.Name, strings.Join(words, ", "))
	}
	for _, i := range p.Interfaces {
		fmt.Fprintf(&b, "  interface %s = %s %s\n", i.Name, i.Kind, quote(i.Value))
	}
	for i := range p.Rules {
		fmt.Fprintf(&b, "  %s\n", &p.Rules[i])
	}
	for i := range p.Asserts {
		fmt.Fprintf(&b, "  %s\n", &p.Asserts[i])
	}
	for i := range p.Tests {
		t := &p.Tests[i]
		fmt.Fprintf(&b, "  test { %s } => %s", p.RequestText(&t.Request), verdictText(t.Expect))
		if t.By != "" {
			b.WriteString(" by " + t.By)
		}
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	return b.String()
}

// String gives the rule as the DSL has it.
func (r *Rule) String() string {
	s := "rule " + r.ID + ": " + verdictText(r.Verdict)
	if r.Log {
		s += " log"
	}
	if r.Audit {
		s += " audit"
	}
	return s + ifText(r.Cond)
}

// String gives the assert as the DSL has it.
func (a *Assert) String() string {
	quantifier := "never "
	if a.Always {
		quantifier = "always "
	}
	return "assert " + a.ID + ": " + quantifier + verdictText(a.Verdict) + ifText(a.Cond)
}

func ifText(c Cond) string {
	if isUnconditional(c) {
		return ""
	}
	return " if " + c.String()
}

// verdictText is the DSL's spelling.
func verdictText(v lang.Verdict) string { return strings.ReplaceAll(v.String(), "-", " ") }

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

package gen

import (
	"fmt"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// dslVerdict is the DSL's spelling.
func dslVerdict(v lang.Verdict) string { return strings.ReplaceAll(v.String(), "-", " ") }

func (g *generator) dsl() string {
	var b strings.Builder
	b.WriteString("policy random {\n")
	fmt.Fprintf(&b, "  default %s\n", dslVerdict(g.verdict()))
	if g.accept {
		b.WriteString("  hook accept\n")
	}
	if g.IntN(2) == 0 {
		b.WriteString("  on unknown " + g.pick([]string{"fail-open", "fail-closed"}) + "\n")
	}
	if g.opts.Events && g.IntN(6) == 0 {
		b.WriteString("  mode audit\n")
	}
	b.WriteString("  interface vpn = alias \"Corp VPN\"\n  interface office = luid \"ethernet_32773\"\n")
	for _, s := range g.declareSets() {
		b.WriteString("  set " + s.name)
		if s.dynamic {
			b.WriteString(" dynamic")
		}
		b.WriteString(" = { " + strings.Join(s.values, ", ") + " }\n")
	}
	for i := range g.rules() {
		fmt.Fprintf(&b, "  rule rule-%d: %s", i, dslVerdict(g.verdict()))
		if g.opts.Events {
			b.WriteString(g.pick([]string{"", "", " log", " audit", " log audit"}))
		}
		b.WriteString(g.dslCondition() + "\n")
	}
	if g.opts.Asserts {
		for i := range 1 + g.IntN(4) {
			fmt.Fprintf(&b, "  assert assert-%d: %s %s%s\n", i, g.pick([]string{"never", "always"}), dslVerdict(g.verdict()), g.dslCondition())
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func (g *generator) dslCondition() string {
	text := ""
	if g.IntN(20) > 0 {
		text += " if " + g.expr(3)
	}
	if g.IntN(5) == 0 {
		text += " unless " + g.expr(2)
	}
	return text
}

func (g *generator) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\npolicy: random\ndefault: %s\n", g.verdict())
	if g.accept {
		b.WriteString("hook: accept\n")
	}
	if g.IntN(2) == 0 {
		b.WriteString("on_unknown: " + g.pick([]string{"fail-open", "fail-closed"}) + "\n")
	}
	if g.opts.Events && g.IntN(6) == 0 {
		b.WriteString("mode: audit\n")
	}
	b.WriteString("interfaces:\n  vpn: {alias: Corp VPN}\n  office: {luid: ethernet_32773}\n")
	if sets := g.declareSets(); len(sets) > 0 {
		b.WriteString("sets:\n")
		for _, s := range sets {
			values := g.flowList(s.values)
			if s.dynamic {
				values = "{dynamic: true, values: " + values + "}"
			}
			fmt.Fprintf(&b, "  %s: %s\n", s.name, values)
		}
	}
	n := g.rules()
	if n == 0 {
		b.WriteString("rules: []\n")
	} else {
		b.WriteString("rules:\n")
	}
	for i := range n {
		fmt.Fprintf(&b, "  - id: rule-%d\n    action: %s\n", i, g.verdict())
		if g.opts.Events {
			b.WriteString(g.pick([]string{"", "", "    log: true\n", "    audit: true\n", "    log: true\n    audit: false\n"}))
		}
		g.yamlCondition(&b)
	}
	if g.opts.Asserts {
		b.WriteString("asserts:\n")
		for i := range 1 + g.IntN(4) {
			fmt.Fprintf(&b, "  - id: assert-%d\n    %s: %s\n", i, g.pick([]string{"never", "always"}), g.verdict())
			g.yamlCondition(&b)
		}
	}
	return b.String()
}

// yamlCondition writes any of the keys that a condition is made of.
func (g *generator) yamlCondition(b *strings.Builder) {
	if g.IntN(2) == 0 {
		fmt.Fprintf(b, "    match: %s\n", g.matchBlock())
	}
	if g.IntN(4) == 0 {
		fmt.Fprintf(b, "    any_of: [%s, %s]\n", g.matchBlock(), g.matchBlock())
	}
	if g.IntN(4) == 0 {
		fmt.Fprintf(b, "    unless: [%s]\n", g.matchBlock())
	}
	if g.IntN(3) == 0 {
		fmt.Fprintf(b, "    if: \"%s\"\n", g.expr(3))
	}
}

// matchBlock is one to three tests of different fields.
func (g *generator) matchBlock() string {
	var tests []string
	for _, i := range g.Perm(len(g.fields))[:min(len(g.fields), 1+g.IntN(3))] {
		f := fields[g.fields[i]]
		value := g.scalar(g.value(f.kind))
		if g.IntN(3) == 0 {
			value = g.flowList(g.values(f.kind))
		}
		tests = append(tests, f.name+": "+value)
	}
	return "{" + strings.Join(tests, ", ") + "}"
}

func (g *generator) flowList(words []string) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = g.scalar(w)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// scalar quotes what YAML would misread, and some of the rest.
func (g *generator) scalar(word string) string {
	if strings.ContainsAny(word, ":[]") || g.IntN(4) == 0 {
		return "'" + word + "'"
	}
	return word
}

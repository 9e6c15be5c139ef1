package gen

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// C is the policy as a C program for the Linux kernel, as somebody would write it by hand: the
// fields of the flow, then one `if` a rule. The stage is egress, connect4 or connect6. An
// egress program finds the type of an interface in its map interface_types, at the
// interface's index; conditions on other fields of the network context are an error. Connect
// programs see only the remote end and the protocol, and deny where a rule does whatever
// the other fields are, before any rule that may allow.
func C(p *compiler.Policy, stage string) (string, error) {
	w := &cWriter{policy: p, known: []compiler.Field{compiler.RemoteAddress, compiler.RemotePort, compiler.Protocol, compiler.Family}}
	prologue, ok := map[string]string{"egress": cEgress, "connect4": cConnect4, "connect6": cConnect6}[stage]
	if !ok {
		return "", fmt.Errorf("no C for stage %s", stage)
	}
	w.early = stage != "egress"
	if !w.early {
		w.known = append(w.known, compiler.LocalAddress, compiler.LocalPort, compiler.InterfaceType)
	}
	var b strings.Builder
	b.WriteString(cTypes)
	for _, family := range []int{4, 6} {
		w.family = family
		fmt.Fprintf(&b, "static __always_inline int decide%d(const struct flow *f)\n{\n", family)
		for i := range p.Rules {
			r := &p.Rules[i]
			maybe := (r.Verdict == lang.Deny) != p.FailOpen
			if w.early {
				maybe = r.Verdict != lang.Deny
			}
			cond, err := w.cond(r.Cond, maybe)
			if err != nil {
				return "", fmt.Errorf("rule %s: %w", r.ID, err)
			}
			if cond != "0" {
				fmt.Fprintf(&b, "\tif (%s)\n\t\treturn %d;\n", cond, cVerdict(r.Verdict))
			}
		}
		fmt.Fprintf(&b, "\treturn %d;\n}\n\n", cVerdict(p.Default))
	}
	b.WriteString(prologue)
	return b.String(), nil
}

func cVerdict(v lang.Verdict) int {
	if v == lang.Deny {
		return 0
	}
	return 1
}

type cWriter struct {
	policy *compiler.Policy
	known  []compiler.Field
	early  bool // of fields that are not known, conditions may be true and may be false
	family int
}

// cond is an expression for "c is true", or with maybe "c is true or unknown".
func (w *cWriter) cond(c compiler.Cond, maybe bool) (string, error) {
	switch c := c.(type) {
	case compiler.All:
		return w.join(c, maybe, " && ", "1", "0")
	case compiler.Any:
		return w.join(c, maybe, " || ", "0", "1")
	case compiler.Not:
		x, err := w.cond(c.X, !maybe)
		switch x {
		case "0":
			return "1", err
		case "1":
			return "0", err
		}
		return "!(" + x + ")", err
	case compiler.In:
		return w.in(c, maybe)
	}
	return "", fmt.Errorf("no C for `%s`", c)
}

// join leaves out the parts that are the neutral value and is the other one if a
// part is.
func (w *cWriter) join(parts []compiler.Cond, maybe bool, op, neutral, other string) (string, error) {
	var texts []string
	for _, part := range parts {
		text, err := w.cond(part, maybe)
		if err != nil || text == other {
			return other, err
		}
		if text != neutral {
			texts = append(texts, text)
		}
	}
	switch len(texts) {
	case 0:
		return neutral, nil
	case 1:
		return texts[0], nil
	}
	return "(" + strings.Join(texts, op) + ")", nil
}

var cNames = map[compiler.Field]string{
	compiler.InterfaceType: "f->interface_type", compiler.RemoteAddress: "f->remote", compiler.LocalAddress: "f->local",
	compiler.RemotePort: "f->remote_port", compiler.LocalPort: "f->local_port", compiler.Protocol: "f->protocol",
}

func (w *cWriter) in(c compiler.In, maybe bool) (string, error) {
	switch known := slices.Contains(w.known, c.Field); {
	case !known && w.early && maybe:
		return "1", nil
	case !known && w.early:
		return "0", nil
	case !known:
		return "", fmt.Errorf("no C for `%s`", c)
	}
	if c.Field == compiler.Family {
		family := compiler.Number(uint64(w.family))
		if slices.ContainsFunc(c.Ranges, func(r compiler.Range) bool { return r.Contains(family) }) {
			return "1", nil
		}
		return "0", nil
	}
	text := "0"
	for _, r := range c.Ranges {
		one := w.within(c.Field, r)
		if one == "1" {
			text = "1"
			break
		}
		if one != "0" && text != "0" {
			text += " || " + one
		} else if one != "0" {
			text = one
		}
	}
	if c.Field == compiler.InterfaceType {
		const unknown = "(f->interface_type == 0 || f->interface_type == 0xffffffff)"
		if maybe {
			return "(" + text + " || " + unknown + ")", nil
		}
		return "((" + text + ") && !" + unknown + ")", nil
	}
	if strings.Contains(text, "||") {
		text = "(" + text + ")"
	}
	return text, nil
}

// within compares a field with the bounds of a range.
func (w *cWriter) within(f compiler.Field, r compiler.Range) string {
	if f != compiler.RemoteAddress && f != compiler.LocalAddress {
		return cRange(cNames[f], r.First.Lo, r.Last.Lo, f.Domain().Last.Lo)
	}
	r, ok := r.OfFamily(w.family == 6)
	switch {
	case !ok:
		return "0"
	case w.family == 4:
		return cRange(cNames[f]+"4", r.First.Lo&math.MaxUint32, r.Last.Lo&math.MaxUint32, math.MaxUint32)
	}
	high, low := cNames[f]+"_high", cNames[f]+"_low"
	if r.First.Hi == r.Last.Hi {
		return "(" + cRange(high, r.First.Hi, r.Last.Hi, 1<<64-1) + " && " + cRange(low, r.First.Lo, r.Last.Lo, 1<<64-1) + ")"
	}
	above := fmt.Sprintf("(%s > %#xull || (%s == %#xull && %s >= %#xull))", high, r.First.Hi, high, r.First.Hi, low, r.First.Lo)
	below := fmt.Sprintf("(%s < %#xull || (%s == %#xull && %s <= %#xull))", high, r.Last.Hi, high, r.Last.Hi, low, r.Last.Lo)
	return "(" + above + " && " + below + ")"
}

// cRange spells a test as an author would: equality, a mask, or bounds.
func cRange(name string, first, last, limit uint64) string {
	same := first ^ last
	switch {
	case first == 0 && last == limit:
		return "1"
	case first == last:
		return fmt.Sprintf("%s == %#x", name, first)
	case same&(same+1) == 0 && first&same == 0:
		return fmt.Sprintf("(%s & %#x) == %#x", name, ^same&limit, first)
	case first == 0:
		return fmt.Sprintf("%s <= %#x", name, last)
	case last == limit:
		return fmt.Sprintf("%s >= %#x", name, first)
	}
	return fmt.Sprintf("(%s >= %#x && %s <= %#x)", name, first, name, last)
}

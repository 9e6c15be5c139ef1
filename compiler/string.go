package compiler

import (
	"fmt"
	"math"
	"strings"
)

func (c All) String() string         { return spell(c) }
func (c Any) String() string         { return spell(c) }
func (c Not) String() string         { return spell(c) }
func (c In) String() string          { return spell(c) }
func (c Unknown) String() string     { return spell(c) }
func (c InSet) String() string       { return spell(c) }
func (c IsInterface) String() string { return spell(c) }

func spell(c Cond) string {
	var b strings.Builder
	writeCond(&b, c, bindsOr)
	return b.String()
}

// How tightly the operators bind.
const (
	bindsOr = iota
	bindsAnd
	bindsNot
)

// writeCond writes a condition at a place that binds as tightly as outer.
func writeCond(b *strings.Builder, c Cond, outer int) {
	if x, ok := c.(In); ok {
		writeIn(b, x, false, outer)
		return
	}
	if t, ok := comparisonOf(c); ok {
		b.WriteString(t.spell(false))
		return
	}
	switch x := c.(type) {
	case All:
		writeList(b, x, " and ", bindsAnd, outer)
	case Any:
		writeList(b, x, " or ", bindsOr, outer)
	case Not:
		if in, ok := x.X.(In); ok {
			writeIn(b, in, true, outer)
		} else if t, ok := comparisonOf(x.X); ok {
			b.WriteString(t.spell(true))
		} else {
			b.WriteString("not ")
			writeCond(b, x.X, bindsNot)
		}
	}
}

func writeList(b *strings.Builder, parts []Cond, operator string, binds, outer int) {
	switch {
	case len(parts) == 0:
		b.WriteString(comparison{Family, []string{"ipv4", "ipv6"}, true}.spell(binds == bindsOr))
		return
	case len(parts) == 1:
		writeCond(b, parts[0], outer)
		return
	case outer > binds:
		b.WriteByte('(')
		defer b.WriteByte(')')
	}
	for i, part := range parts {
		if i > 0 {
			b.WriteString(operator)
		}
		writeCond(b, part, binds+1)
	}
}

// comparison is `field == x`, `field in x` or `field in { x, y }`.
type comparison struct {
	field Field
	words []string
	many  bool // the words stand for more than one value
}

// comparisonOf gives a condition that can be written as one comparison.
func comparisonOf(c Cond) (comparison, bool) {
	switch c := c.(type) {
	case Unknown:
		return comparison{c.Field, []string{"unknown"}, false}, true
	case InSet:
		return comparison{c.Field, []string{"$" + c.Set.Name}, true}, true
	case IsInterface:
		return comparison{c.Field, []string{"$" + c.Interface.Name}, false}, true
	case In:
		words, inverted := c.literals()
		many := len(c.Ranges) != 1 || c.Ranges[0].First != c.Ranges[0].Last
		return comparison{c.Field, words, many}, !inverted && len(words) > 0
	case Any:
		var all comparison
		for i, part := range c {
			t, ok := comparisonOf(part)
			if !ok || i > 0 && t.field != all.field {
				return comparison{}, false
			}
			all = comparison{t.field, append(all.words, t.words...), i > 0 || t.many}
		}
		return all, len(c) > 0
	}
	return comparison{}, false
}

// spell writes the comparison, or its negation.
func (t comparison) spell(negated bool) string {
	value := t.words[0]
	if len(t.words) > 1 {
		value = "{ " + strings.Join(t.words, ", ") + " }"
	}
	operator := "=="
	switch {
	case t.many && negated:
		operator = "not in"
	case t.many:
		operator = "in"
	case negated:
		operator = "!="
	}
	return t.field.String() + " " + operator + " " + value
}

// ordered reports whether the field is compared with ranges and by `<`.
func (f Field) ordered() bool {
	return f.kind() == RemotePort || f == SubInterface || f == Compartment
}

// writeIn writes a test against ranges, or its negation.
func writeIn(b *strings.Builder, c In, negated bool, outer int) {
	domain := c.Field.Domain()
	if c.Field.ordered() && len(c.Ranges) == 0 {
		fmt.Fprintf(b, "%s %s 0", c.Field, map[bool]string{false: "<", true: ">="}[negated])
		return
	}
	if c.Field.ordered() && len(c.Ranges) == 1 && c.Ranges[0].First != c.Ranges[0].Last {
		signs := map[bool][2]string{false: {"<=", ">="}, true: {">", "<"}}[negated]
		switch r := c.Ranges[0]; {
		case r.Last == domain.Last:
			fmt.Fprintf(b, "%s %s %d", c.Field, signs[1], r.First.Lo)
			return
		case r.First == domain.First:
			fmt.Fprintf(b, "%s %s %d", c.Field, signs[0], r.Last.Lo)
			return
		}
	}
	words, inverted := c.literals()
	if len(words) > 0 {
		many := len(words) > 1 || !inverted && c.Ranges[0].First != c.Ranges[0].Last
		b.WriteString(comparison{c.Field, words, many}.spell(negated != inverted))
		return
	}
	// No value of the field, or each of them; but unknown stays unknown.
	one := comparison{field: c.Field, words: []string{nameOf(c.Field, c.Field.known().First)}}
	operator, binds := " and ", bindsAnd
	if negated != inverted {
		operator, binds = " or ", bindsOr
	}
	if outer > binds {
		b.WriteByte('(')
		defer b.WriteByte(')')
	}
	b.WriteString(one.spell(false) + operator + one.spell(true))
}

// known is the range of the field's real values, which never has a not-available
// one inside.
func (f Field) known() Range {
	r := f.Domain()
	for _, n := range f.NotAvailable() {
		switch n {
		case r.First:
			r.First = r.First.next()
		case r.Last:
			r.Last = r.Last.prev()
		}
	}
	return r
}

// literals lists the values of the ranges as the language spells them; inverted
// says that they are those that the ranges leave out, which are fewer.
func (c In) literals() (words []string, inverted bool) {
	if c.Field.kind() == RemoteAddress {
		return spellAddresses(c.Ranges), false
	}
	if c.Field.ordered() {
		for _, r := range c.Ranges {
			words = append(words, spellRange(c.Field, r))
		}
		return words, false
	}
	if c.Field == Family {
		for _, v := range []Value{Number(4), Number(6)} {
			if contains(c.Ranges, v) {
				words = append(words, nameOf(Family, v))
			}
		}
		return words, false
	}
	known := c.Field.known()
	in := clip(c.Ranges, known)
	out := complement(in, known)
	if count(in) > count(out) {
		in, inverted = out, true
	}
	if count(in) > maxListed {
		for _, r := range in {
			words = append(words, spellRange(c.Field, r))
		}
		return words, inverted
	}
	for _, r := range in {
		for v := r.First; ; v = v.next() {
			words = append(words, nameOf(c.Field, v))
			if v == r.Last {
				break
			}
		}
	}
	return words, inverted
}

// maxListed is how many values of a field without ranges are listed one by one.
// Beyond it String shows ranges that no policy could have.
const maxListed = 256

func spellRange(f Field, r Range) string {
	if r.First == r.Last {
		return nameOf(f, r.First)
	}
	return nameOf(f, r.First) + "-" + nameOf(f, r.Last)
}

// clip gives the parts of the ranges inside the outer one.
func clip(ranges []Range, outer Range) []Range {
	var in []Range
	for _, r := range ranges {
		if r = (Range{maxValue(r.First, outer.First), minValue(r.Last, outer.Last)}); !r.Last.less(r.First) {
			in = append(in, r)
		}
	}
	return in
}

// count gives how many values below 2^64 the ranges hold, or the largest number.
func count(ranges []Range) uint64 {
	var n uint64
	for _, r := range ranges {
		size := r.Last.Lo - r.First.Lo
		if size >= math.MaxUint64-1-n {
			return math.MaxUint64
		}
		n += size + 1
	}
	return n
}

// spellAddresses gives addresses, prefixes and ranges, each of one family. An
// IPv6 range around the IPv4-mapped block is one literal again.
func spellAddresses(ranges []Range) []string {
	var words []string
	var below *Range // the range that ends before the block
	for _, r := range ranges {
		parts := r.without(mapped)
		if v4 := clip([]Range{r}, mapped); len(v4) > 0 {
			words = append(words, spellAddressRange(v4[0]))
		}
		for _, v6 := range parts {
			switch {
			case v6.Last == mapped.First.prev():
				below = &v6
				continue
			case below != nil && v6.First == mapped.Last.next():
				v6.First = below.First
				below = nil
			}
			words = append(words, spellAddressRange(v6))
		}
	}
	if below != nil {
		words = append(words, spellAddressRange(*below))
	}
	return words
}

func spellAddressRange(r Range) string {
	first, last := r.First.Address(), r.Last.Address()
	if first == last {
		return first.String()
	}
	for bits := range first.BitLen() {
		if p, _ := first.Prefix(bits); prefixRange(p) == r {
			return p.String()
		}
	}
	return first.String() + "-" + last.String()
}

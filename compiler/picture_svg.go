package compiler

import (
	"bufio"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// WriteSVG draws the diagram as an SVG image, from left to right. The tests of a
// large diagram that are farthest from the start are left out, and counted.
func (d *Diagram) WriteSVG(w io.Writer) error {
	l := newLayout(d.picture())
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\">\n", l.width, l.height, l.width, l.height)
	fmt.Fprintf(out, "<title>policy %s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", xmlText(l.picture.name))
	for _, e := range l.lines {
		l.writeLine(out, e)
	}
	for i, b := range l.picture.boxes {
		l.writeBox(out, &l.places[i], b)
	}
	fmt.Fprintln(out, "</svg>")
	return out.Flush()
}

// Measures of a drawing, in pixels.
const (
	charWidth  = 6.4 // of the 11 pixel font
	lineHeight = 14.0
	boxGap     = 12.0 // between boxes of a column
	lineGap    = 10.0 // between lines that pass through a column
	columnGap  = 40.0 // besides the labels
	margin     = 16.0
)

// place is where a box stands, or where a line passes through a column.
type place struct {
	column        int
	x, y          float64 // the left end of its middle line
	width, height float64
	left, right   []int // places that lines connect it with
}

// layout is a picture with a place for everything: boxes in columns such that lines
// lead to the right.
type layout struct {
	picture       *picture
	places        []place // of the boxes, then of bends
	columns       [][]int // places, from top to bottom
	lines         []line
	width, height float64
}

// line is an edge: the places it goes through. Lines end at heights of their own, so
// that their labels do not meet.
type line struct {
	through []int
	label   string
	end     float64
}

func newLayout(p *picture) *layout {
	l := &layout{picture: p, places: make([]place, len(p.boxes))}
	for i, b := range p.boxes {
		rows := strings.Split(b.text, "\n")
		longest := 0
		for _, row := range rows {
			longest = max(longest, utf8.RuneCountInString(row))
		}
		l.places[i].width = float64(longest)*charWidth + 16
		l.places[i].height = float64(len(rows))*lineHeight + 10
	}
	l.assignColumns()
	for _, e := range p.edges {
		l.addLine(e)
	}
	l.columns = make([][]int, 0)
	for i := range l.places {
		c := l.places[i].column
		for len(l.columns) <= c {
			l.columns = append(l.columns, nil)
		}
		l.columns[c] = append(l.columns[c], i)
	}
	for i := range p.boxes {
		l.places[i].height = max(l.places[i].height, lineGap*float64(len(l.places[i].left)))
	}
	l.order()
	l.assignX()
	l.assignY()
	l.assignEnds()
	return l
}

// assignColumns puts each box right of all that lead to it, and the rules in the last
// column. Edges lead from boxes to later ones or to rules, but for shared tests.
func (l *layout) assignColumns() {
	for changed := true; changed; {
		changed = false
		for _, e := range l.picture.edges {
			if c := l.places[e.from].column + 1; l.places[e.to].column < c {
				l.places[e.to].column, changed = c, true
			}
		}
	}
	last := 0
	for i := range l.places {
		last = max(last, l.places[i].column)
	}
	for i, b := range l.picture.boxes {
		if b.kind == denyBox || b.kind == allowBox || b.kind == allowHardBox {
			l.places[i].column = last
		}
	}
}

// addLine makes a line of an edge, with a bend in each column that it crosses.
func (l *layout) addLine(e pictureEdge) {
	through := []int{e.from}
	for c := l.places[e.from].column + 1; c < l.places[e.to].column; c++ {
		through = append(through, len(l.places))
		l.places = append(l.places, place{column: c})
	}
	through = append(through, e.to)
	for i := 1; i < len(through); i++ {
		a, b := through[i-1], through[i]
		l.places[a].right = append(l.places[a].right, b)
		l.places[b].left = append(l.places[b].left, a)
	}
	l.lines = append(l.lines, line{through: through, label: e.label})
}

// order sorts each column by where the neighbours stand, to have few crossings.
func (l *layout) order() {
	at := make([]float64, len(l.places))
	number := func(column []int) {
		for i, p := range column {
			at[p] = float64(i)
		}
	}
	for _, c := range l.columns {
		number(c)
	}
	sort := func(column []int, neighbours func(p int) []int) {
		mean := map[int]float64{}
		for _, p := range column {
			mean[p] = average(neighbours(p), at, at[p])
		}
		slices.SortStableFunc(column, func(a, b int) int { return cmp.Compare(mean[a], mean[b]) })
		number(column)
	}
	for range 8 {
		for _, c := range l.columns {
			sort(c, func(p int) []int { return l.places[p].left })
		}
		for _, c := range slices.Backward(l.columns) {
			sort(c, func(p int) []int { return l.places[p].right })
		}
	}
}

// average is the mean of some values, or what is given for none.
func average(of []int, values []float64, none float64) float64 {
	if len(of) == 0 {
		return none
	}
	sum := 0.0
	for _, i := range of {
		sum += values[i]
	}
	return sum / float64(len(of))
}

// assignX leaves room between columns for the labels of the lines.
func (l *layout) assignX() {
	x := margin
	for c, column := range l.columns {
		width, label := 0.0, 0
		for _, p := range column {
			l.places[p].x = x
			width = max(width, l.places[p].width)
		}
		for _, e := range l.lines {
			if l.places[e.through[0]].column == c {
				label = max(label, utf8.RuneCountInString(e.label))
			}
		}
		for _, p := range column {
			if l.isBend(p) {
				l.places[p].width = width
			}
		}
		l.width = x + width + margin
		x += width + columnGap + float64(label)*charWidth
	}
}

func (l *layout) isBend(p int) bool { return p >= len(l.picture.boxes) }

// assignY lets each place come near its neighbours, in the order of its column.
func (l *layout) assignY() {
	at := make([]float64, len(l.places))
	wanted := func(p int) float64 {
		return average(slices.Concat(l.places[p].left, l.places[p].right), at, at[p])
	}
	spread := func(column []int) {
		for i, p := range column {
			if i > 0 {
				at[p] = max(at[p], at[column[i-1]]+l.distance(column[i-1], p))
			}
		}
		shift := 0.0 // back to where they wanted to be on average
		for _, p := range column {
			shift += (wanted(p) - at[p]) / float64(len(column))
		}
		for _, p := range column {
			at[p] += shift
		}
	}
	for _, c := range l.columns {
		spread(c)
	}
	for range 10 {
		for _, c := range l.columns {
			for _, p := range c {
				at[p] = wanted(p)
			}
			spread(c)
		}
	}
	top := 0.0
	for p := range at {
		top = min(top, at[p]-l.places[p].height/2)
	}
	for p := range at {
		l.places[p].y = at[p] - top + margin
		l.height = max(l.height, l.places[p].y+l.places[p].height/2+margin)
	}
}

// assignEnds spreads the lines that lead to a box over its side, in the order in which
// they come.
func (l *layout) assignEnds() {
	byBox := make([][]int, len(l.picture.boxes))
	for i, e := range l.lines {
		box := e.through[len(e.through)-1]
		byBox[box] = append(byBox[box], i)
	}
	before := func(i int) float64 {
		through := l.lines[i].through
		return l.places[through[len(through)-2]].y
	}
	for box, lines := range byBox {
		slices.SortStableFunc(lines, func(a, b int) int { return cmp.Compare(before(a), before(b)) })
		for k, i := range lines {
			l.lines[i].end = l.places[box].y + lineGap*(float64(k)-float64(len(lines)-1)/2)
		}
	}
}

// distance is how far apart the middles of two neighbours in a column stand.
func (l *layout) distance(a, b int) float64 {
	gap := boxGap
	if l.isBend(a) || l.isBend(b) {
		gap = lineGap
	}
	return (l.places[a].height+l.places[b].height)/2 + gap
}

func (l *layout) writeBox(out io.Writer, p *place, b pictureBox) {
	colour, dash := boxColours[b.kind], ""
	if b.kind == omittedBox {
		dash = " stroke-dasharray=\"4 3\""
	}
	fmt.Fprintf(out, "<g><title>%s</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"5\" fill=\"%s\" stroke=\"%s\"%s/>",
		xmlText(b.text), p.x, p.y-p.height/2, p.width, p.height, colour.fill, colour.line, dash)
	rows := strings.Split(b.text, "\n")
	for i, row := range rows {
		y := p.y + lineHeight*(float64(i)-float64(len(rows)-1)/2) + 4
		fmt.Fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"11\" text-anchor=\"middle\">%s</text>", p.x+p.width/2, y, xmlText(row))
	}
	fmt.Fprintln(out, "</g>")
}

// writeLine draws an edge, its label near where it ends up in the next column.
func (l *layout) writeLine(out io.Writer, e line) {
	from, to := &l.places[e.through[0]], &l.places[e.through[1]]
	x, y, labelY := from.x+from.width, from.y, to.y
	if len(e.through) == 2 {
		labelY = e.end
	}
	fmt.Fprintf(out, "<path fill=\"none\" stroke=\"#868e96\" d=\"M%.1f %.1f", x, y)
	for _, i := range e.through[1:] {
		p := l.places[i]
		if !l.isBend(i) {
			p.y = e.end
		}
		fmt.Fprintf(out, " C%.1f %.1f %.1f %.1f %.1f %.1f", x+columnGap/2, y, p.x-columnGap/2, p.y, p.x, p.y)
		x, y = p.x, p.y
		if l.isBend(i) {
			x += p.width
			fmt.Fprintf(out, " L%.1f %.1f", x, y)
		}
	}
	fmt.Fprintln(out, "\"/>")
	if e.label != "" {
		fmt.Fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"10\" text-anchor=\"end\" fill=\"#343a40\" stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\">%s</text>\n",
			to.x-6, labelY+3, xmlText(e.label))
	}
}

func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

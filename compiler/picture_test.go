package compiler_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/tests/gen"
)

// A picture is well-formed, fits on a page, and no box of it hides another, whether
// the policy is small or large.
func TestPictures(t *testing.T) {
	policies := map[string]string{"mixed-500": gen.Mixed(rand.New(rand.NewPCG(1, 1)), 500), "empty": "policy empty {\n  default deny\n}\n"}
	examples, err := filepath.Glob("../examples/*.hop")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, name := range examples {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		policies[filepath.Base(name)] = string(text)
	}
	for name, text := range policies {
		t.Run(name, func(t *testing.T) {
			diagram, err := compiler.Compile(check(t, text), &compiler.CompileOptions{FreeInterfaces: true})
			require.NoError(t, err)
			var svg, dot bytes.Buffer
			require.NoError(t, diagram.WriteSVG(&svg))
			require.NoError(t, diagram.WriteDOT(&dot))
			require.Less(t, svg.Len(), 200_000)
			boxes, width, height := svgBoxes(t, &svg)
			require.NotEmpty(t, boxes)
			require.Less(t, len(boxes), 200)
			for i, a := range boxes {
				require.True(t, a[0] >= 0 && a[1] >= 0 && a[0]+a[2] <= width && a[1]+a[3] <= height, "%v", a)
				for _, b := range boxes[:i] {
					apart := a[0]+a[2] <= b[0] || b[0]+b[2] <= a[0] || a[1]+a[3] <= b[1] || b[1]+b[3] <= a[1]
					require.True(t, apart, "%v and %v", a, b)
				}
			}
		})
	}
}

// svgBoxes are x, y, width and height of the boxes, and the size of the image.
func svgBoxes(t *testing.T, svg io.Reader) (boxes [][4]float64, width, height float64) {
	d := xml.NewDecoder(svg)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return boxes, width, height
		}
		require.NoError(t, err)
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		value := map[string]float64{}
		for _, a := range e.Attr {
			if n, err := strconv.ParseFloat(a.Value, 64); err == nil {
				value[a.Name.Local] = n
			}
		}
		if e.Name.Local == "svg" {
			width, height = value["width"], value["height"]
		}
		if _, placed := value["x"]; placed && e.Name.Local == "rect" {
			boxes = append(boxes, [4]float64{value["x"], value["y"], value["width"], value["height"]})
		}
	}
}

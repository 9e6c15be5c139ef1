// Package bench measures hopgate: go test -bench . ./tests/bench
package bench

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// BenchmarkPolicyToObject takes a policy of 1 000 rules over five fields from its
// text to the bytes of an object file.
func BenchmarkPolicyToObject(b *testing.B) {
	text := []byte(gen.Mixed(rand.New(rand.NewPCG(1, 1)), 1000))
	var instructions int
	for b.Loop() {
		file, err := lang.Parse("mixed.hop", text)
		require.NoError(b, err)
		policy, err := compiler.Check(file, nil)
		require.NoError(b, err)
		diagram, err := compiler.Compile(policy, nil)
		require.NoError(b, err)
		program, err := codegen.Generate(diagram, nil)
		require.NoError(b, err)
		var object bytes.Buffer
		require.NoError(b, program.WriteELF(&object))
		instructions = len(program.Functions[0].Instructions)
	}
	b.ReportMetric(float64(instructions), "instructions")
}

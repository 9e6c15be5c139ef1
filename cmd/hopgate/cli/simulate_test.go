package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// Of names that are equally near, the same is suggested each time.
func TestCastSuggestsTheSame(t *testing.T) {
	given := []lang.Given{{Field: lang.Word{Text: "next_hop"}, Value: lang.Word{Text: "vpn-x", Ref: true}}}
	for range 50 {
		cast, err := loadCast(nil, bindings{"vpn-a": 1, "vpn-b": 2, "vpn-c": 3})
		require.NoError(t, err)
		_, err = cast.request(given)
		require.EqualError(t, err, "no interface is called `vpn-x`: did you mean `vpn-a`?")
	}
}

module fairlead.dev/pause

go 1.24

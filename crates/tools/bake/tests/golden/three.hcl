target "a" { args = { Z = 1 } }
group "default" { targets = ["a"] }
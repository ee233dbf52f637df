variable "TAG" { default = "latest" }
variable "LIST" {
  type = list(string)
  default = ["a","b"]
  description = "A list"
}
variable "NUM" { default = 3 }
variable "FLAG" { default = true }
variable "OBJ" {
  type = object({a=string, b=optional(number)})
  default = {a = "x"}
}
variable "NUL" { default = null }
variable "STR" { type = string }
variable "PLAT" { default = BAKE_LOCAL_PLATFORM }
variable "MAPV" {
  type = map(number)
  default = {a=1}
}
attr = "${TAG}-x"
function "img" {
  params = [n]
  variadic_params = rest
  result = "me/${n}:${TAG}${join(",", rest)}"
}
group "default" {
  description = "all of it"
  targets = ["app", "tools"]
}
group "sub" { targets = ["default", "many"] }
target "_base" {
  args = { A = 1, B = FLAG, C = null, D = "$${x}%%{y}" }
  labels = { "a.b" = attr }
  platforms = ["linux/amd64", "linux/arm64"]
  cache-from = ["me/cache", {type="local", src="c"}]
  secret = ["id=a,src=all.hcl", {id="b", env="B"}]
  output = [{type="image", push="false"}, "type=local,dest=out", "out2"]
  attest = ["type=provenance,mode=max", {type="sbom", disabled="true"}]
  annotations = ["index:a=b<c"]
  no-cache-filter = ["x", "x"]
  ulimits = ["nofile=1:2"]
  shm-size = "64m"
  extra-hosts = { h = "1.1.1.1" }
  entitlements = ["security.insecure"]
}
target "app" {
  inherits = ["_base"]
  context = "./app/../app/"
  dockerfile-inline = <<-EOT
    FROM ${TAG}
      RUN echo $${X}
  EOT
  tags = [img("app"), img("b", "1", "2"), ""]
  contexts = { tools = "target:tools", none = "" , img = "docker-image://alpine" }
  network = "host"
  args = { A = NUM * 2, E = length(LIST), F = OBJ.b == null ? "none" : "b", G = STR == null, H = MAPV.a, I = LIST[1] }
  description = "The app"
}
target "tools" {
  description = "Tools"
  context = target.app.context
  args = { T = target._base.labels["a.b"], U = upper(target._base.args.D) }
  pull = true
  no-cache = false
  call = "build"
  target = "final"
  resources = { memory = "1g", cpu-quota = 5 }
}
target "many" {
  name = "many-${os}-${replace(v.x, ".", "-")}"
  matrix = { os = ["a", "b"], v = [{x = "1.0"}, {x = "2.0"}] }
  args = { V = v.x, O = os }
  tags = os == "a" ? ["t"] : []
}

FROM fedora:40
RUN dnf install -y httpd-2.4.62 && dnf clean all
RUN dnf install httpd mod_ssl
RUN microdnf install -y nginx
RUN --mount=type=cache,target=/var/cache/libdnf5 dnf -y install git-2.46
RUN dnf -y module install nodejs:20 && dnf clean all
RUN dnf -y module install nodejs && dnf clean all

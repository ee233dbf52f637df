FROM opensuse/leap:15.6
RUN zypper install httpd
RUN zypper in -y httpd=2.4 && zypper clean
RUN zypper --non-interactive dup

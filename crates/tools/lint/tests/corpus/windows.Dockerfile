# escape=`
FROM mcr.microsoft.com/windows/servercore:ltsc2022
SHELL ["powershell", "-Command", "$ErrorActionPreference = 'Stop';"]
WORKDIR C:\app
COPY src C:\app\
RUN Get-ChildItem `
      | Out-Null
ENTRYPOINT ["C:\\app\\app.exe"]
